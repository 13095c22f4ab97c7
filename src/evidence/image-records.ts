/**
 * The store of the records of images: a folder of files that are named by their digests, so that what was written once
 * is never written over. `records/<digest>/` has a record, `proofs/<definition>/` what stacks say of an image.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { contentsDigest } from "../domain/images/contents.ts";
import type { ImageSubject } from "../domain/images/statements.ts";
import type { Finding, FoundRecord, Said, SaidProof, SaidTests } from "../domain/images/found-record.ts";
import { canonical, fingerprint } from "../domain/model/canonical.ts";
import { messageOf, UserError } from "../runtime/errors.ts";
import { openBundle, type TrustedKey } from "./bundle.ts";
import {
  readProof,
  readProvenance,
  readSbom,
  readTests,
  type SaidProvenance,
  type SaidSbom,
} from "./read-statement.ts";

/** The bundles of a record, each as its JSON text. */
export interface RecordTexts {
  provenance: string;
  sbom: string;
  tests: string;
}

/** A record with what its statements say. */
export interface StoredRecord extends FoundRecord {
  digest: string;
  provenance: Finding<SaidProvenance>;
  sbom: Finding<SaidSbom>;
  tests: Finding<SaidTests>;
}

const FILES = ["provenance.json", "sbom.json", "tests.json"] as const;
const DIGEST = /^[0-9a-f]{64}$/;
/** Bytes of the largest file that is read: an SBOM of 2,000 packages has half a MiB. */
const MOST_BYTES = 64 * 1024 * 1024;

/** The digest of a record: what the notes of its template name. */
export function recordDigest(texts: RecordTexts): string {
  const { provenance, sbom, tests } = texts;
  return fingerprint({ provenance: sha256(provenance), sbom: sha256(sbom), tests: sha256(tests) }, 64);
}

/**
 * Writes a record, whole or not at all.
 * @param root folder of the store; it is made if it does not exist
 * @returns the digest of the record
 * @throws UserError when the folder cannot be written
 */
export async function writeRecord(root: string, texts: RecordTexts): Promise<string> {
  const digest = recordDigest(texts);
  await withRoom(root, async () => {
    const target = join(root, "records", digest);
    if (await readRecordTexts(root, digest)) return;
    const temporary = join(root, "tmp", randomUUID());
    await mkdir(temporary, { recursive: true });
    await mkdir(join(root, "records"), { recursive: true });
    await writeSynced(join(temporary, FILES[0]), texts.provenance);
    await writeSynced(join(temporary, FILES[1]), texts.sbom);
    await writeSynced(join(temporary, FILES[2]), texts.tests);
    await moveTo(temporary, target);
  });
  return digest;
}

/** Writes what a stack says of the image of a definition. The same text twice is one file. */
export async function writeProof(root: string, definition: string, text: string): Promise<void> {
  await withRoom(root, async () => {
    const folder = join(root, "proofs", definition);
    const temporary = join(root, "tmp", randomUUID());
    await mkdir(folder, { recursive: true });
    await mkdir(join(root, "tmp"), { recursive: true });
    await writeSynced(temporary, text);
    await moveTo(temporary, join(folder, `${sha256(text)}.json`));
  });
}

/**
 * Reads the record of a digest, and what stacks say of its image.
 * @returns undefined when the store has no record of this digest
 * @throws UserError that names a file which cannot be read, is not one of ours, or has another content than its name says
 */
export async function readRecord(
  root: string,
  digest: string,
  keys: readonly TrustedKey[],
): Promise<StoredRecord | undefined> {
  const texts = await readRecordTexts(root, digest);
  if (texts === undefined) return undefined;
  const where = join(root, "records", digest);
  const statement = <S>(file: string, text: string, read: (value: unknown, where: string) => S): Finding<S> =>
    readFinding(openBundle(text, keys, join(where, file)), (value) => read(value, join(where, file)));
  const provenance = statement(FILES[0], texts.provenance, readProvenance);
  const sbom = statement(FILES[1], texts.sbom, readSbom);
  const tests = statement(FILES[2], texts.tests, readTests);
  requireOneImage(where, [provenance, sbom, tests], sbom);
  const definition = subjectOf(provenance)?.definition;
  const proofs = definition === undefined ? [] : await readProofs(root, definition, keys);
  return { where, digest, provenance, sbom, tests, proofs };
}

/** What stacks say of the images of a definition. */
export async function readProofs(
  root: string,
  definition: string,
  keys: readonly TrustedKey[],
): Promise<Finding<SaidProof>[]> {
  const folder = join(root, "proofs", definition);
  const names = (await listFolder(folder)) ?? [];
  return await Promise.all(
    names.map(async (name) => {
      const where = join(folder, name);
      const text = await readText(where);
      if (`${sha256(text)}.json` !== name) throw changed(where);
      return readFinding(openBundle(text, keys, where), (value) => readProof(value, where));
    }),
  );
}

/** Digests of all records of the store. */
export async function listRecords(root: string): Promise<string[]> {
  const folder = join(root, "records");
  const names = (await listFolder(folder)) ?? [];
  const foreign = names.find((name) => !DIGEST.test(name));
  if (foreign !== undefined) throw unknownFile(join(folder, foreign));
  return names;
}

async function readRecordTexts(root: string, digest: string): Promise<RecordTexts | undefined> {
  const folder = join(root, "records", digest);
  const names = await listFolder(folder);
  if (names === undefined) return undefined;
  const foreign = names.find((name) => !(FILES as readonly string[]).includes(name));
  if (foreign !== undefined) throw unknownFile(join(folder, foreign));
  const [provenance = "", sbom = "", tests = ""] = await Promise.all(FILES.map((name) => readText(join(folder, name))));
  const texts = { provenance, sbom, tests };
  if (recordDigest(texts) !== digest) throw changed(folder);
  return texts;
}

/** Statements of other records, signed as they are, must not be put together to a new one. */
function requireOneImage(where: string, findings: readonly Finding<Said>[], sbom: Finding<SaidSbom>): void {
  const subjects = findings.flatMap((finding) => subjectOf(finding) ?? []);
  const isOne = new Set(subjects.map(canonical)).size <= 1;
  const isMeasured =
    (sbom.kind !== "signed" && sbom.kind !== "unsigned") ||
    contentsDigest(sbom.statement.contents) === sbom.statement.subject.contents;
  if (isOne && isMeasured) return;
  throw new UserError({
    what: "the statements of a record are not all of one image",
    where,
    todo: "find out who wrote to the store of records; then copy the record from a backup, or bake the image again",
  });
}

function readFinding<S>(finding: Finding<unknown>, read: (statement: unknown) => S): Finding<S> {
  return finding.kind === "signed" || finding.kind === "unsigned"
    ? { ...finding, statement: read(finding.statement) }
    : finding;
}

function subjectOf(finding: Finding<Said>): ImageSubject | undefined {
  return finding.kind === "signed" || finding.kind === "unsigned" ? finding.statement.subject : undefined;
}

/** @returns undefined when there is no such folder: the only thing that is "missing" */
async function listFolder(folder: string): Promise<string[] | undefined> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw unreadable(folder, error);
  }
}

async function readText(file: string): Promise<string> {
  const handle = await open(file).catch((error: unknown) => Promise.reject(unreadable(file, error)));
  try {
    const { size } = await handle.stat();
    if (size > MOST_BYTES) throw new Error(`it has ${size} bytes`);
    return await readFile(handle, "utf8");
  } catch (error) {
    throw unreadable(file, error);
  } finally {
    await handle.close();
  }
}

async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await open(file, "wx");
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** So that a record which a template names is still there after the machine lost its power. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Another process may have written the same content, under the same name. */
async function moveTo(temporary: string, target: string): Promise<void> {
  try {
    await rename(temporary, target);
    await syncFolder(dirname(target));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    if (!isCode(error, "ENOTEMPTY") && !isCode(error, "EEXIST")) throw error;
  }
}

/** Runs what writes, with an error for the operator when the folder cannot be written. */
async function withRoom(root: string, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      {
        what: `the store of records cannot be written: ${messageOf(error)}`,
        where: root,
        todo: "give this user the right to write there, and the file system room",
      },
      { cause: error },
    );
  }
}

function unreadable(file: string, error: unknown): UserError {
  return new UserError(
    {
      what: `a file of the store of records cannot be read: ${messageOf(error)}`,
      where: file,
      todo: "give this user the right to read it, or copy it from a backup of the store",
    },
    { cause: error },
  );
}

function unknownFile(file: string): UserError {
  return new UserError({
    what: "the store of records has a file or folder that is not of a record",
    where: file,
    todo: "find out whose it is, and take it out of the store",
  });
}

function changed(file: string): UserError {
  return new UserError({
    what: "a record has another content than its name says",
    where: file,
    todo: "find out who wrote to the store of records; then copy the record from a backup, or bake the image again",
  });
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
