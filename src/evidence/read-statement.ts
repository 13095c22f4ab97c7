/** Reads statements of images back: only ours, of a version that is known, and about an image. */
import { z } from "zod";
import type { ImageContents } from "../domain/images/contents.ts";
import { digestOfRead } from "../domain/images/definition.ts";
import {
  BUILD_TYPE,
  builderId,
  imageSubjectOf,
  PREDICATES,
  STATEMENT_TYPE,
  type StatementKind,
} from "../domain/images/statements.ts";
import type { Said, SaidOrigin, SaidProof, SaidTests } from "../domain/images/found-record.ts";
import { UserError } from "../runtime/errors.ts";
import { contentsOf, sbomSchema } from "./sbom.ts";

/** How an image was made. */
export interface SaidProvenance extends SaidOrigin {
  /** The whole definition, as it was when the image was baked: JSON, for a comparison. */
  definition: Readonly<Record<string, unknown>>;
}

/** What an image holds. */
export interface SaidSbom extends Said {
  contents: ImageContents;
}

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const time = z.iso.datetime();
const version = z.object({ evergreen: z.string() });

const statement = z.object({
  _type: z.literal(STATEMENT_TYPE),
  predicateType: z.string(),
  subject: z.array(
    z.object({
      name: z.string().optional(),
      digest: z.object({ sha256: hex }),
      annotations: z.record(z.string(), z.unknown()).optional(),
    }),
  ),
  predicate: z.unknown(),
});

const provenance = z.object({
  buildDefinition: z.object({
    buildType: z.literal(BUILD_TYPE),
    externalParameters: z.object({ definition: z.record(z.string(), z.unknown()) }),
  }),
  runDetails: z.object({
    builder: z.object({ id: z.string(), version }),
    metadata: z.object({ startedOn: time, finishedOn: time }),
  }),
});

const tests = z.object({
  result: z.enum(["PASSED", "FAILED"]),
  passedTests: z.array(z.string()),
  failedTests: z.array(z.string()),
  evergreen_testedOn: time,
});

const proof = z.object({
  verifier: z.object({ id: z.string(), version }),
  timeVerified: time,
  verificationResult: z.enum(["PASSED", "FAILED"]),
  evergreen_since: time,
});

/** @param where the file, for a message. All of these throw a UserError when the statement is another one. */
export function readProvenance(value: unknown, where: string): SaidProvenance {
  const { subject, predicate } = read("provenance", provenance, value, where);
  const { buildDefinition, runDetails } = predicate;
  const { definition } = buildDefinition.externalParameters;
  return {
    subject,
    at: runDetails.metadata.finishedOn,
    definition,
    content: digestOfRead(definition),
    stack: stackOf(runDetails.builder.id),
  };
}

/** Reads an SBOM. */
export function readSbom(value: unknown, where: string): SaidSbom {
  const { subject, predicate } = read("sbom", sbomSchema, value, where);
  return { subject, at: predicate.metadata.timestamp, contents: contentsOf(predicate) };
}

/** Reads test results. */
export function readTests(value: unknown, where: string): SaidTests {
  const { subject, predicate } = read("tests", tests, value, where);
  const { result, passedTests, failedTests, evergreen_testedOn: at } = predicate;
  return { subject, at, failed: failedTests, isPassed: result === "PASSED" && passedTests.length > 0 };
}

/** Reads the summary of a stack that ran an image. */
export function readProof(value: unknown, where: string): SaidProof {
  const { subject, predicate } = read("proof", proof, value, where);
  const { verifier, timeVerified: at, verificationResult, evergreen_since: since } = predicate;
  return { subject, at, since, stack: stackOf(verifier.id), isPassed: verificationResult === "PASSED" };
}

function read<P>(kind: StatementKind, schema: z.ZodType<P>, value: unknown, where: string) {
  const outer = statement.safeParse(value);
  const subject = outer.success ? imageSubjectOf(outer.data as Parameters<typeof imageSubjectOf>[0]) : undefined;
  if (!outer.success || outer.data.predicateType !== PREDICATES[kind] || subject === undefined)
    throw foreign(kind, where, outer.error);
  const inner = schema.safeParse(outer.data.predicate);
  if (!inner.success) throw foreign(kind, where, inner.error);
  return { subject, predicate: inner.data };
}

function foreign(kind: StatementKind, where: string, error: z.ZodError | undefined): UserError {
  const [issue] = error?.issues ?? [];
  const detail = issue === undefined ? "" : ` (${issue.path.join(".")}: ${issue.message})`;
  return new UserError({
    what: `a statement of the store of records is not the ${kind} of an image, or is of a version that is not known here${detail}`,
    where,
    todo: "use the version of Evergreen that wrote it, or a later one; or copy the file from a backup of the store",
  });
}

/** The stack of a URI of ours; of another one, the URI. */
function stackOf(id: string): string {
  const prefix = builderId({ stack: "" });
  return id.startsWith(prefix) ? id.slice(prefix.length) : id;
}
