/** Makes the record of an image: its three statements, signed where there is a key. */
import type { ImageContents } from "../domain/images/contents.ts";
import type { ImageDefinition } from "../domain/images/definition.ts";
import {
  provenanceOf,
  sbomStatement,
  testsStatement,
  type Builder,
  type ImageSubject,
  type Statement,
} from "../domain/images/statements.ts";
import { signStatement, writeUnsigned, type SigningKey } from "./bundle.ts";
import type { RecordTexts } from "./image-records.ts";
import { sbomOf } from "./sbom.ts";

/** All that a record says. */
export interface RecordedImage {
  subject: ImageSubject;
  definition: ImageDefinition;
  contents: ImageContents;
  /** SHA-256 of each script and unit of `images/bake/`, by its name. */
  shell: Readonly<Record<string, string>>;
  builder: Builder;
  /** Begin of the bake, ISO 8601. */
  startedOn: string;
  /** When the image was measured and its tests ended, ISO 8601. */
  at: string;
  /** Tests of a clone by their names. */
  passed: readonly string[];
  failed: readonly string[];
}

/** @param key undefined: the statements bear no signature */
export async function makeRecord(image: RecordedImage, key: SigningKey | undefined): Promise<RecordTexts> {
  const { subject, definition, contents, shell, builder, startedOn, at, passed, failed } = image;
  const write = (statement: Statement): Promise<string> =>
    key === undefined ? Promise.resolve(writeUnsigned(statement)) : signStatement(statement, key);
  const { name, version } = definition;
  return {
    provenance: await write(provenanceOf({ subject, definition, shell, builder, startedOn, finishedOn: at })),
    sbom: await write(
      sbomStatement(subject, sbomOf({ name, version, distribution: distributionOf(definition), at }, contents)),
    ),
    tests: await write(testsStatement(subject, { passed, failed, at })),
  };
}

/** The distribution of a base image, by the address of its releases: `/releases/noble/`. */
function distributionOf({ base: { url } }: ImageDefinition): { vendor: string; codename: string } {
  const codename = /\/releases\/([a-z]+)\//.exec(url)?.[1];
  return codename === undefined ? { vendor: "debian", codename: "unknown" } : { vendor: "ubuntu", codename };
}
