/** The images that the lab provides, and the files on their disks. */
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

/** Files on the disk of an image, by absolute path. A clone reads them until it writes its own. */
export function filesOf(image: ImageContent): Map<string, Buffer> {
  const { name, rke2, kernel, osImage, units } = image;
  const release = ['NAME="Ubuntu"', "ID=ubuntu", 'VERSION_ID="24.04"', `PRETTY_NAME="${osImage}"`];
  return new Map([
    [imageFile, Buffer.from(`${JSON.stringify({ image: name, rke2, kernel, units })}\n`)],
    ["/etc/os-release", Buffer.from(`${release.join("\n")}\n`)],
    ["/proc/version", Buffer.from(`Linux version ${kernel}\n`)],
  ]);
}
