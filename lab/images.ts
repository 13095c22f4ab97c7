/** The images that the lab provides, and the files on their disks. */
import { newestKernel } from "./guest/base-image.ts";
import { GuestFiles } from "./guest/files.ts";
import { installedPackages, installPackages } from "./guest/packages.ts";
import type { ImageContent } from "./types.ts";

const ubuntu = { osImage: "Ubuntu 24.04.3 LTS", agent: true, units: ["registries"] } as const;

/** Image contents by version. A rollout from 1.0.0 to 1.1.0 keeps RKE2, so servers need not be replaced first. */
export const images = {
  "1.0.0": {
    ...ubuntu,
    name: "ubuntu-24.04-rke2-v1.0.0",
    rke2: "v1.34.4+rke2r1",
    kernel: "6.8.0-60-generic",
  },
  "1.1.0": {
    ...ubuntu,
    name: "ubuntu-24.04-rke2-v1.1.0",
    rke2: "v1.34.4+rke2r1",
    kernel: "6.8.0-71-generic",
  },
} as const satisfies Record<string, ImageContent>;

/** File in which an image describes itself. */
export const imageFile = "/etc/evergreen/image.json";

/** The packages of the images that are not baked in the lab. */
const packages = [
  "base-files",
  "ca-certificates",
  "curl",
  "htop",
  "libc6",
  "openssl",
  "qemu-guest-agent",
  "systemd",
  "wget",
];

/** List of the packages of an image, as its bake left it. */
const listFile = "/var/lib/evergreen/record/packages";

function listOf(disk: Map<string, Buffer>): string {
  const lines = installedPackages(new GuestFiles(disk, new Map())).map(
    ({ name, version, architecture }) => `${name}\t${version}\t${architecture}\n`,
  );
  return lines.join("");
}

/** A later version has the packages of a later day. */
function archiveDay(name: string): string {
  const minor = Number(/-v\d+\.(\d+)\./.exec(name)?.[1] ?? 0);
  return `2026${String(3 + (minor % 9)).padStart(2, "0")}01`;
}

/** Files on the disk of an image, by absolute path. A clone reads them until it writes its own. */
export function filesOf(image: ImageContent): Map<string, Buffer> {
  const { name, rke2, kernel, osImage, units, base } = image;
  // Of a cloud image everything is on the disk, where a bake changes it.
  if (base !== undefined) return new Map([["/proc/version", Buffer.from(`Linux version ${kernel}\n`)]]);
  const release = ['NAME="Ubuntu"', "ID=ubuntu", 'VERSION_ID="24.04"', `PRETTY_NAME="${osImage}"`];
  const disk = new Map<string, Buffer>();
  installPackages(
    new GuestFiles(disk, new Map()),
    [...packages, `linux-image-${kernel}`],
    `${archiveDay(name)}T000000Z`,
  );
  return new Map([
    ...disk,
    [listFile, Buffer.from(listOf(disk))],
    ["/proc/sys/kernel/osrelease", Buffer.from(`${kernel}\n`)],
    [imageFile, Buffer.from(`${JSON.stringify({ image: name, rke2, kernel, units })}\n`)],
    ["/etc/os-release", Buffer.from(`${release.join("\n")}\n`)],
    ["/proc/version", Buffer.from(`Linux version ${kernel}\n`)],
  ]);
}

/** What a guest finds itself to be: of a cloud image, what a bake has written on the disk. */
export function installedImage(image: ImageContent, disk: ReadonlyMap<string, Buffer>): ImageContent {
  if (image.base === undefined) return image;
  const kernel = newestKernel(disk.keys()) ?? image.kernel;
  const own = descriptionIn(disk.get(imageFile)?.toString() ?? "");
  if (own === undefined) return { ...image, kernel };
  return { ...image, kernel, name: own.image, rke2: own.rke2, ...(own.units && { units: own.units }) };
}

function descriptionIn(text: string): { image: string; rke2: string; units?: string[] } | undefined {
  try {
    const given = JSON.parse(text) as { image?: string; rke2?: string; units?: string[] } | null;
    const { image, rke2, units } = given ?? {};
    return image === undefined || rke2 === undefined ? undefined : { image, rke2, ...(units && { units }) };
  } catch {
    return undefined;
  }
}
