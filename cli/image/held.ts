/** What images hold, from their records: for `evergreen image diff --records`. */
import { readFileSync } from "node:fs";
import type { ImageContents } from "../../src/domain/images/contents.ts";
import { templateNameOf, type ImageDefinition } from "../../src/domain/images/definition.ts";
import { trustedKeyOf, type TrustedKey } from "../../src/evidence/bundle.ts";
import { readRecordedContents } from "../../src/evidence/recorded-contents.ts";
import { messageOf, UserError } from "../../src/runtime/errors.ts";

/** A store of records, and files with the public keys whose signatures count. */
export interface RecordOptions {
  records?: string;
  trust?: string[];
}

/** Keys that are given for one look are trusted whenever they signed. */
const EVER = "1970-01-01T00:00:00Z";

/**
 * What the newest record of a definition says that its image holds.
 * @throws UserError when the store has none that is signed with one of the keys
 */
export async function readHeld(
  { records = "", trust = [] }: RecordOptions,
  definition: ImageDefinition,
): Promise<ImageContents> {
  const keys = trust.map(readKey);
  const found = await readRecordedContents(records, keys);
  const contents = found.byImage.get(templateNameOf(definition));
  if (contents !== undefined) return contents;
  throw new UserError({
    what: `no record of ${templateNameOf(definition)} is signed with a key that was given`,
    where: `${records}: ${found.records} records, ${found.signed} of them signed so`,
    todo: "name the store of the stack that baked it, and its public key: --trust FILE",
  });
}

function readKey(file: string): TrustedKey {
  try {
    return trustedKeyOf({ name: file, from: EVER, publicKey: readFileSync(file, "utf8") }, file);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      { what: `the file with the key cannot be read: ${messageOf(error)}`, where: file, todo: "correct --trust" },
      { cause: error },
    );
  }
}
