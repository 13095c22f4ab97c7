/** What a guest measures of itself (images/bake/guest/measure.sh): the lists behind an image's SBOM and its proof. */
import type { ContainerImage, ImageContents, MeasuredFile, Package } from "./contents.ts";

/** Directory of the image with the lists that were made when it was sealed. */
export const RECORD_DIRECTORY = "/var/lib/evergreen/record";

/** Measures a guest again, into another directory. Prints the digests of both lists as JSON. */
export const MEASURE = "/usr/lib/evergreen/measure";

/** The texts of the lists, by their names in the directory. `images` is missing when no image was imported. */
export interface MeasuredLists {
  packages: string;
  files: string;
  images?: string;
}

/** @throws Error when a line is none of its list: then nothing is known of the image */
export function contentsOf({ packages, files, images = "" }: MeasuredLists): ImageContents {
  return {
    packages: linesOf(packages).map(packageOf),
    files: linesOf(files).map((line) => {
      const { name, sha256 } = sumOf("files", line);
      return { path: `/${name}`, sha256 } satisfies MeasuredFile;
    }),
    images: linesOf(images).map((line) => {
      const { name, sha256 } = sumOf("images", line);
      return { reference: name, sha256 } satisfies ContainerImage;
    }),
  };
}

/** `htop\t3.3.0-4build1\tamd64` */
function packageOf(line: string): Package {
  const [name, version, architecture, ...more] = line.split("\t");
  if (!name || !version || !architecture || more.length > 0) throw unreadable("packages", line);
  return { name, version, architecture };
}

/** A line of sha256sum, which writes a backslash before the sum of a name that it had to escape. */
function sumOf(list: string, line: string): { name: string; sha256: string } {
  const [, sha256, name] = /^([0-9a-f]{64}) {2}(.+)$/.exec(line) ?? [];
  if (sha256 === undefined || name === undefined) throw unreadable(list, line);
  return { name, sha256 };
}

function linesOf(text: string): string[] {
  if (text !== "" && !text.endsWith("\n")) throw unreadable("a list that was cut off", text.slice(-80));
  return text.split("\n").slice(0, -1);
}

const unreadable = (list: string, line: string): Error => new Error(`measured ${list}: not readable: ${line}`);
