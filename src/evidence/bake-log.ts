/** The log of a bake that failed: what is left of it when its VM is gone. */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../runtime/errors.ts";
import { redact } from "../runtime/log.ts";

/** What is kept of a bake that failed. */
export interface BakeLog {
  image: string;
  digest: string;
  /** When it failed. */
  at: Date;
  /** What failed, as the operator is told. */
  why: string;
  /** Texts by their titles, such as the guest's own log. */
  parts: readonly { title: string; text: string }[];
}

/**
 * Writes the log into a file of its own, whole or not at all.
 * @param folder it is made if it does not exist
 * @returns the path of the file
 * @throws UserError when it cannot be written
 */
export async function writeBakeLog(folder: string, log: BakeLog): Promise<string> {
  const stamp = log.at.toISOString().replaceAll(/[-:]/g, "").replace(/\.\d+/, "");
  const file = join(folder, `${log.image}-${log.digest.slice(0, 12)}-${stamp}.log`);
  try {
    await mkdir(folder, { recursive: true });
    await writeFile(`${file}.new`, redact(textOf(log)));
    await rename(`${file}.new`, file);
    return file;
  } catch (error) {
    throw new UserError(
      {
        what: `the log of a bake cannot be written: ${messageOf(error)}`,
        where: file,
        todo: "give this user the right to write there, and the file system room",
      },
      { cause: error },
    );
  }
}

function textOf({ image, digest, at, why, parts }: BakeLog): string {
  const head = `The bake of ${image} (sha256:${digest}) failed at ${at.toISOString()}:\n${why}\n`;
  return [head, ...parts.map(({ title, text }) => `=== ${title}\n${text.trimEnd()}\n`)].join("\n");
}
