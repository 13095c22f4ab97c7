import { fingerprint } from "../model/canonical.ts";

/**
 * A golden image as data: what a folder `images/<name>/` says. Whatever the image will hold is in it or is named in it
 * by a digest, so that two bakes of one definition give the same content.
 */
export interface ImageDefinition {
  /** The folder's name, a DNS label: `ubuntu-24-04-rke2`. */
  name: string;
  /** Version of the definition, `v1.2.0`. Name and version together are the template's name. */
  version: string;
  base: BaseImage;
  /**
   * The moment of the Ubuntu archive from which every package comes, an id of snapshot.ubuntu.com:
   * `20260801T000000Z`. Not before the date of the base, for apt does not downgrade.
   */
  archiveDate: string;
  /** Names of Debian packages, besides those that every image has (`PACKAGES_OF_EVERY_IMAGE`). */
  packages: readonly string[];
  /** Packages that stay at their version when a node is patched in place. None by default. */
  hold: readonly string[];
  rke2: Rke2Artefacts;
  kernel: KernelSettings;
  /** Kernel settings by name, as in sysctl.d: `{ "vm.max_map_count": "262144" }`. */
  sysctl: Readonly<Record<string, string>>;
  /** `cis`: what RKE2's `profile: cis` asks of its host. `none` by default. */
  hardening: "none" | "cis";
  /** Whether the image has an SSH server. Off by default: the guest agent is the way in. */
  ssh: boolean;
  /** Units that the image has beyond those of every image; `image.json` of the guest lists them. */
  units: readonly string[];
  /** Files of the folder's `files/`, by their absolute path in the image. */
  files: readonly ImageFile[];
  /** Scripts of the folder's `scripts/`, run as root in this order after the packages are installed. */
  scripts: readonly ImageFile[];
  /** Scripts of the folder's `tests/`, run by the proof on a clone. Exit code 0 passes. */
  tests: readonly ImageFile[];
}

/** The cloud image that a bake begins with. */
export interface BaseImage {
  /** HTTPS address of one release, never of a moving folder such as `release/` or `current/`. */
  url: string;
  /** SHA-256 of the file, 64 hexadecimal digits. */
  sha256: string;
  /** Date of the release, `20260725`, as in its address. */
  serial: string;
  /** Full fingerprint of the OpenPGP key that signed the list of sums, 40 hexadecimal digits. */
  signedBy: string;
}

/** RKE2 as an image has it: unpacked by the bake, so that a join pulls and imports nothing. */
export interface Rke2Artefacts {
  /** `v1.34.4+rke2r1`. */
  version: string;
  /** What the bake downloads: the binaries' archive and the archives of container images with their lists. */
  artefacts: readonly Artefact[];
}

/** A file that a bake downloads, by its digest. */
export interface Artefact {
  /** Name of the file in the release: `rke2-images-core.linux-amd64.tar.zst`. */
  file: string;
  /** SHA-256 of the file, 64 hexadecimal digits. */
  sha256: string;
}

/** Settings of the kernel that sysctl cannot make. */
export interface KernelSettings {
  /** Parameters that are added to the kernel's command line: `["transparent_hugepage=never"]`. */
  parameters: readonly string[];
  /** Modules that are loaded at boot: `["br_netfilter", "overlay"]`. */
  modules: readonly string[];
}

/** A file of the definition's folder, by its content. */
export interface ImageFile {
  /** Absolute path in the image for `files`; name of the file for scripts and tests. */
  path: string;
  /** SHA-256 of its bytes, 64 hexadecimal digits. */
  sha256: string;
  /** Permissions in octal digits: `0644`. */
  mode: string;
}

/** Packages that every image has. */
export const PACKAGES_OF_EVERY_IMAGE = ["curl", "htop", "qemu-guest-agent", "wget"] as const;

/** Number of hexadecimal digits of an image's digest: a whole SHA-256. */
const DIGEST_DIGITS = 64;

/**
 * The identity of an image: the SHA-256 of all that decides its content. `shell` is the SHA-256 of each script and unit
 * of `images/bake/`, by its name: the same definition baked by other scripts is another image. The order of packages,
 * modules and files has no effect on an image, so it has none on the digest; the order of scripts has.
 */
export function digestOf(definition: ImageDefinition, shell: Readonly<Record<string, string>>): string {
  const { packages, hold, units, files, tests, rke2, kernel } = definition;
  const content = {
    ...definition,
    packages: packages.toSorted(),
    hold: hold.toSorted(),
    units: units.toSorted(),
    files: files.toSorted(byPath),
    tests: tests.toSorted(byPath),
    kernel: { parameters: kernel.parameters, modules: kernel.modules.toSorted() },
    rke2: { ...rke2, artefacts: rke2.artefacts.toSorted((a, b) => (a.file < b.file ? -1 : 1)) },
  };
  return fingerprint({ content, shell }, DIGEST_DIGITS);
}

/** Name of the template that a bake of the definition makes. */
export function templateNameOf({ name, version }: Pick<ImageDefinition, "name" | "version">): string {
  return `${name}-${version}`;
}

function byPath(a: ImageFile, b: ImageFile): number {
  return a.path < b.path ? -1 : 1;
}
