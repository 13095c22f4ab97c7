/**
 * What is said of an image, as in-toto statements: how it was made, what it holds, how its tests ended, and that a stack
 * ran it. Plain objects; `src/evidence/` signs and stores them. docs/images.md documents the build type.
 */
import { normalized, type ImageDefinition } from "./definition.ts";
import { identityDigest, type TemplateIdentity, type TemplateVolume } from "./template-identity.ts";

/** The type of an in-toto statement, version 1. */
export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";

/** Media type of a statement in a DSSE envelope. */
export const STATEMENT_MEDIA_TYPE = "application/vnd.in-toto+json";

/** How an image is made of its definition: the meaning of the parameters of its provenance. */
export const BUILD_TYPE = "urn:evergreen:golden-image:v1";

/** The kinds of statements, and the types of their predicates. */
export const PREDICATES = {
  provenance: "https://slsa.dev/provenance/v1",
  sbom: "https://cyclonedx.org/bom",
  tests: "https://in-toto.io/attestation/test-result/v0.1",
  proof: "https://slsa.dev/verification_summary/v1",
} as const;

/** A kind of statement. */
export type StatementKind = keyof typeof PREDICATES;

/** An in-toto statement. */
export interface Statement<Predicate = unknown> {
  _type: typeof STATEMENT_TYPE;
  subject: readonly ResourceDescriptor[];
  predicateType: string;
  predicate: Predicate;
}

/** What a statement is about, or what was used (in-toto, ResourceDescriptor). */
export interface ResourceDescriptor {
  name?: string;
  uri?: string;
  digest?: { sha256: string };
  annotations?: Readonly<Record<string, unknown>>;
}

/** What all statements of a record are about. */
export interface ImageSubject {
  /** Name of the definition: `ubuntu-24-04-rke2`. */
  name: string;
  version: string;
  /** Digest of the definition with its files and the shell of the bake (`digestOf`). */
  definition: string;
  /** Digest of what the image was measured to hold (`contentsDigest`). */
  contents: string;
  /** The template, and its copies on other hosts or storages. */
  templates: readonly TemplateIdentity[];
}

/** Roles of the subjects, in their annotations: names are chosen by whoever defines an image. */
const ROLE = "evergreen_role";

function subjectsOf({ name, version, definition, contents, templates }: ImageSubject): ResourceDescriptor[] {
  const image = `${name}-${version}`;
  return [
    { name: image, digest: { sha256: definition }, annotations: { [ROLE]: "definition", name, version } },
    { name: image, digest: { sha256: contents }, annotations: { [ROLE]: "contents" } },
    ...templates.map((template) => ({
      name: template.name,
      digest: { sha256: identityDigest(template) },
      annotations: { [ROLE]: "template", ...template },
    })),
  ];
}

/**
 * What a statement is about. The template's digest is not taken from its subject: it is computed of what is said of it.
 * @returns undefined when the subjects are not those of an image, or do not agree with each other
 */
export function imageSubjectOf({ subject }: Statement): ImageSubject | undefined {
  const role = (wanted: string) => subject.filter(({ annotations }) => annotations?.[ROLE] === wanted);
  const [definition, ...others] = role("definition");
  const [contents, ...more] = role("contents");
  const { name, version } = definition?.annotations ?? {};
  const templates = role("template").map(templateOf);
  const isWhole = templates.every((template) => template !== undefined);
  if (typeof name !== "string" || typeof version !== "string" || others.length + more.length > 0) return undefined;
  if (definition?.digest === undefined || contents?.digest === undefined || !isWhole) return undefined;
  return { name, version, definition: definition.digest.sha256, contents: contents.digest.sha256, templates };
}

function templateOf({ digest, annotations = {} }: ResourceDescriptor): TemplateIdentity | undefined {
  const { name, uuid, config, volumes } = annotations;
  if (typeof name !== "string" || typeof uuid !== "string" || typeof config !== "string") return undefined;
  if (!Array.isArray(volumes) || !volumes.every(isVolume)) return undefined;
  const known = volumes.map(({ id, size }) => ({ id, ...(size === undefined ? {} : { size }) }));
  const identity = { name, uuid, config, volumes: known };
  return identityDigest(identity) === digest?.sha256 ? identity : undefined;
}

function isVolume(value: unknown): value is TemplateVolume {
  if (typeof value !== "object" || value === null || !("id" in value)) return false;
  return typeof value.id === "string" && (!("size" in value) || typeof value.size === "string");
}

/** A bake that has ended. */
export interface Bake {
  subject: ImageSubject;
  definition: ImageDefinition;
  /** SHA-256 of each script and unit of `images/bake/`, by its name. */
  shell: Readonly<Record<string, string>>;
  builder: Builder;
  /** Begin and end of the bake, ISO 8601. */
  startedOn: string;
  finishedOn: string;
}

/** Who made an image, or ran it. */
export interface Builder {
  /** The stack: `evergreen/dev`. */
  stack: string;
  /** Version of Evergreen. */
  version: string;
}

/** Predicate of a provenance (SLSA v1), as far as it is read again. */
export interface Provenance {
  buildDefinition: {
    buildType: string;
    externalParameters: { definition: ImageDefinition };
    internalParameters: { shell: Readonly<Record<string, string>> };
    resolvedDependencies: readonly ResourceDescriptor[];
  };
  runDetails: {
    builder: { id: string; version: { evergreen: string } };
    metadata: { invocationId: string; startedOn: string; finishedOn: string };
  };
}

/** How an image was made. */
export function provenanceOf(bake: Bake): Statement<Provenance> {
  const { subject, definition, shell, builder, startedOn, finishedOn } = bake;
  return statement("provenance", subject, {
    buildDefinition: {
      buildType: BUILD_TYPE,
      externalParameters: { definition: normalized(definition) },
      internalParameters: { shell },
      resolvedDependencies: dependenciesOf(definition),
    },
    runDetails: {
      builder: { id: builderId(builder), version: { evergreen: builder.version } },
      metadata: { invocationId: `${subject.definition}@${startedOn}`, startedOn, finishedOn },
    },
  });
}

/** What a bake downloads. The archive has no digest: its date is what names its content. */
function dependenciesOf({ base, archiveDate, rke2 }: ImageDefinition): ResourceDescriptor[] {
  return [
    { name: "base", uri: base.url, digest: { sha256: base.sha256 } },
    { name: "archive", uri: `https://snapshot.ubuntu.com/ubuntu/${archiveDate}` },
    ...rke2.artefacts.map(({ file, sha256 }) => ({ name: `${rke2.version}/${file}`, digest: { sha256 } })),
  ];
}

/** What an image holds: `bom` is a document of CycloneDX (`src/evidence/sbom.ts`). */
export function sbomStatement(subject: ImageSubject, bom: object): Statement<object> {
  return statement("sbom", subject, bom);
}

/** Predicate of test results (in-toto, test-result v0.1). */
export interface TestResults {
  result: "PASSED" | "FAILED";
  configuration: readonly ResourceDescriptor[];
  passedTests: readonly string[];
  failedTests: readonly string[];
  /** When the last test ended, ISO 8601. */
  evergreen_testedOn: string;
}

/** How the tests of a candidate ended, by their names. */
export function testsStatement(
  subject: ImageSubject,
  { passed, failed, at }: { passed: readonly string[]; failed: readonly string[]; at: string },
): Statement<TestResults> {
  return statement("tests", subject, {
    result: failed.length === 0 && passed.length > 0 ? "PASSED" : "FAILED",
    configuration: [{ name: "definition", digest: { sha256: subject.definition } }],
    passedTests: passed.toSorted(),
    failedTests: failed.toSorted(),
    evergreen_testedOn: at,
  });
}

/** Predicate of a verification summary (SLSA v1): a stack says that it ran the image, since when and on what. */
export interface ProofSummary {
  verifier: { id: string; version: { evergreen: string } };
  timeVerified: string;
  resourceUri: string;
  policy: { uri: string };
  inputAttestations: readonly { uri: string; digest: { sha256: string } }[];
  verificationResult: "PASSED" | "FAILED";
  verifiedLevels: readonly string[];
  slsaVersion: string;
  /** Since when nodes of the image run in the stack, ISO 8601. */
  evergreen_since: string;
  /** Nodes that were made of the image, by their names. */
  evergreen_nodes: readonly string[];
  /** Checks that each of them passed. */
  evergreen_checks: readonly string[];
}

/** What a stack saw of an image that it ran. */
export interface Proof {
  verifier: Builder;
  /** Since when nodes of the image run in the stack, ISO 8601: later summaries keep what the first one says. */
  since: string;
  /** When that was seen, ISO 8601. Of two summaries of a stack the later one counts. */
  at: string;
  /** Digest of the record that the stack's template has. */
  record: string;
  nodes: readonly string[];
  checks: readonly string[];
  isPassed: boolean;
}

/** The signed word of a stack that it ran an image: what a later stack asks for. */
export function proofStatement(subject: ImageSubject, proof: Proof): Statement<ProofSummary> {
  return statement("proof", subject, {
    verifier: { id: builderId(proof.verifier), version: { evergreen: proof.verifier.version } },
    timeVerified: proof.at,
    resourceUri: `${BUILD_TYPE}:${subject.name}:${subject.version}`,
    policy: { uri: `${BUILD_TYPE}:proof` },
    inputAttestations: [{ uri: `${BUILD_TYPE}:record`, digest: { sha256: proof.record } }],
    verificationResult: proof.isPassed ? "PASSED" : "FAILED",
    verifiedLevels: ["SLSA_BUILD_LEVEL_UNEVALUATED"],
    slsaVersion: "1.1",
    evergreen_since: proof.since,
    evergreen_nodes: proof.nodes.toSorted(),
    evergreen_checks: proof.checks.toSorted(),
  });
}

/** Name of a stack as builder or verifier: a URI, as SLSA asks for. */
export function builderId({ stack }: Pick<Builder, "stack">): string {
  return `urn:evergreen:stack:${stack}`;
}

function statement<P>(kind: StatementKind, subject: ImageSubject, predicate: P): Statement<P> {
  return { _type: STATEMENT_TYPE, subject: subjectsOf(subject), predicateType: PREDICATES[kind], predicate };
}
