import type { ImageContents } from "../domain/images/contents.ts";
import { templateNameOf } from "../domain/images/definition.ts";
import type { TrustedKey } from "./bundle.ts";
import { listRecords, readRecord } from "./image-records.ts";

/** What images hold, by the names of their templates, from the records of a store. */
export interface RecordedContents {
  /** Of each image what its newest record says that a trusted key has signed. */
  byImage: ReadonlyMap<string, ImageContents>;
  /** Number of records in the store. */
  records: number;
  /** Number of those whose list of contents is signed with a trusted key. */
  signed: number;
}

/**
 * Reads what the images of a store hold.
 * @throws UserError that names a file which cannot be read, or is not one of ours
 */
export async function readRecordedContents(root: string, keys: readonly TrustedKey[]): Promise<RecordedContents> {
  const found = await Promise.all((await listRecords(root)).map((digest) => readRecord(root, digest, keys)));
  const signed = found.flatMap((record) => (record?.sbom.kind === "signed" ? [record.sbom.statement] : []));
  const oldestFirst = signed.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at));
  const byImage = new Map(oldestFirst.map(({ subject, contents }) => [templateNameOf(subject), contents]));
  return { byImage, records: found.length, signed: signed.length };
}
