import { fingerprint } from "../model/canonical.ts";

/**
 * A golden image as data: what a folder `images/<name>/` says. Whatever the image will hold is in it or is named in it
 * by a digest, so that two bakes of one definition give the same content.
 */
export interface ImageDefinition {
  /** Name without version, as in a DNS name: `ubuntu-24-04-rke2`. Versions of one name may lie in folders side by side. */
  name: string;
  /** Version of the definition, `v1.2.0`. Name and version together are the template's name (`templateNameOf`). */
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
  /** Size of the template's disk in GiB: what the bake has room in. Clones may have more, never less. */
  diskGiB: number;
  rke2: Rke2Artefacts;
  kernel: KernelSettings;
  /** Kernel settings by name, as in sysctl.d: `{ "vm.max_map_count": "262144" }`. */
  sysctl: Readonly<Record<string, string>>;
  /** `cis`: what RKE2's `profile: cis` asks of its host. `none` by default. */
  hardening: "none" | "cis";
  /** Whether the image has an SSH server. Off by default: the guest agent is the way in. */
  ssh: boolean;
  /** Units of systemd that are switched, by packages or by `files`; those of Evergreen and RKE2 are not among them. */
  services: Services;
  /** Files of the folder's `files/`, owned by root, put in place after the packages are installed. */
  files: readonly ImageFile[];
  /** Scripts of the folder's `scripts/`, run as root in this order, that of their names, once the files are in place. */
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
  /** Date of the release, as in its address and taken from there: `20260725`, or `20260725.1` for the second of a day. */
  serial: string;
  /** Full fingerprint of the OpenPGP key that signed the list of sums, 40 hexadecimal digits in capitals. */
  signedBy: string;
}

/** The plugins for the network of pods that RKE2 brings. A cluster names its own with the key `cni`. */
export const CNIS = ["canal", "calico", "cilium", "flannel", "multus", "none"] as const;
export type Cni = (typeof CNIS)[number];

/** RKE2 as an image has it: unpacked by the bake, so that a join pulls and imports nothing. */
export interface Rke2Artefacts {
  /** `v1.34.4+rke2r1`. */
  version: string;
  /** Plugins for the network of pods whose container images are in the image: a promise to the clusters that use it. */
  cni: readonly Cni[];
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

/** Units of systemd by their full names: `chrony.service`, `fstrim.timer`. */
export interface Services {
  /** Started at each boot. */
  enable: readonly string[];
  /** Never started, by nobody. */
  mask: readonly string[];
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

/** A definition with the bytes behind it: what a bake brings into the image. */
export interface ImageSource {
  definition: ImageDefinition;
  /** The bytes of every file, script and test, by their SHA-256. */
  contents: ReadonlyMap<string, Uint8Array>;
}

/** Packages that every image has. */
export const PACKAGES_OF_EVERY_IMAGE = ["curl", "htop", "qemu-guest-agent", "wget"] as const;

/** Number of hexadecimal digits of an image's digest: a whole SHA-256. */
const DIGEST_DIGITS = 64;

/**
 * The identity of an image: the SHA-256 of all that decides its content. `shell` is the SHA-256 of each script and unit
 * of `images/bake/`, by its name: the same definition baked by other scripts is another image. The order of packages,
 * units, modules and files has no effect on an image, so it has none on the digest; the order of scripts has.
 */
export function digestOf(definition: ImageDefinition, shell: Readonly<Record<string, string>>): string {
  return fingerprint({ content: normalized(definition), shell }, DIGEST_DIGITS);
}

/** The digest of a definition by itself, whatever scripts bake it. */
export const contentDigest = (definition: ImageDefinition): string => digestOf(definition, {});

/** A definition in the form that its digest is made of: what has no effect on an image has none on it. */
export function normalized(definition: ImageDefinition): ImageDefinition {
  const { packages, hold, services, files, tests, rke2, kernel } = definition;
  return {
    ...definition,
    packages: packages.toSorted(),
    hold: hold.toSorted(),
    services: { enable: services.enable.toSorted(), mask: services.mask.toSorted() },
    files: files.toSorted(byPath),
    tests: tests.toSorted(byPath),
    kernel: { parameters: kernel.parameters, modules: kernel.modules.toSorted() },
    rke2: {
      ...rke2,
      cni: rke2.cni.toSorted(),
      artefacts: rke2.artefacts.toSorted((a, b) => (a.file < b.file ? -1 : 1)),
    },
  };
}

/** The digest of a definition that was read back, in the form of `normalized`: that of `contentDigest`. */
export function digestOfRead(definition: Readonly<Record<string, unknown>>): string {
  return fingerprint({ content: definition, shell: {} }, DIGEST_DIGITS);
}

/** Name of the template that a bake of the definition makes. */
export function templateNameOf({ name, version }: Pick<ImageDefinition, "name" | "version">): string {
  return `${name}-${version}`;
}

function byPath(a: ImageFile, b: ImageFile): number {
  return a.path < b.path ? -1 : 1;
}
