/** What an image was measured to hold: the content of its SBOM. */
import { fingerprint } from "../model/canonical.ts";

/** What the guest listed before it was sealed. */
export interface ImageContents {
  packages: readonly Package[];
  /** Container images that containerd has imported and pinned. */
  images: readonly ContainerImage[];
  /** Files whose content decides what a node runs: RKE2's binaries, units, settings. */
  files: readonly MeasuredFile[];
}

/** A Debian package that is installed. */
export interface Package {
  name: string;
  /** Version as dpkg has it: `1:9.6p1-3ubuntu13.3`. */
  version: string;
  /** `amd64`, `all`. Two architectures of a name are two packages. */
  architecture: string;
}

/** A container image. */
export interface ContainerImage {
  /** `docker.io/rancher/hardened-etcd:v3.5.26-k3s1-build20260126`. */
  reference: string;
  /** Digest of its manifest, 64 hexadecimal digits of a SHA-256. */
  sha256: string;
}

/** A file by its content. */
export interface MeasuredFile {
  /** Absolute path in the image. */
  path: string;
  /** 64 hexadecimal digits. */
  sha256: string;
}

/** The contents in one order, whatever order the guest listed them in. */
export function orderedContents({ packages, images, files }: ImageContents): ImageContents {
  return {
    packages: sorted(packages, (one) => `${one.name}:${one.architecture}`),
    images: sorted(images, ({ reference }) => reference),
    files: sorted(files, ({ path }) => path),
  };
}

/** The SHA-256 of all contents: equal for two bakes that hold the same packages, container images and files. */
export function contentsDigest(contents: ImageContents): string {
  return fingerprint(orderedContents(contents), 64);
}

function sorted<T>(list: readonly T[], key: (one: T) => string): T[] {
  return list
    .map((one): [string, T] => [key(one), one])
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, one]) => one);
}
