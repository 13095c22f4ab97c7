/** What a rollout demands of the record of a template. Every way in which it can fall short is a refusal. */
import type { Problem } from "../model/problem.ts";
import type { Finding, FoundRecord, KeyValidity, Said, SaidProof } from "./found-record.ts";
import type { ImageSubject } from "./statements.ts";
import type { TemplateIdentity } from "./template-identity.ts";

/** A template as Proxmox shows it at the start of a run. */
export interface ShownTemplate {
  /** Which one, for a message: `template ubuntu-v1.2.0, VM 9001 on pve1`. */
  title: string;
  identity: TemplateIdentity;
  /** Digest of its record, as its notes say; undefined when they name none. */
  record: string | undefined;
}

/** What the configuration wants of images. */
export interface Demand {
  /** Place of the store of records, for a message. */
  store: string;
  /**
   * Digest of the definition that the repository has for this image (`contentDigest`); undefined: it has none. The scripts of
   * the bake are no part of it: a newer Evergreen has others, and what an older one baked stays good.
   */
  definition?: string;
  /** What is done with a record without a signature. */
  unsigned: "refused" | "accepted";
  /** Stacks of which each must have run the image, and for how many seconds. */
  proof?: { stacks: readonly string[]; seconds: number };
}

/** How far the clock of whoever signed may be ahead of ours, in milliseconds. */
const SKEW_MS = 5 * 60_000;

/**
 * Why a rollout may not use a template. `found` is the record that the template's notes name: undefined when the store
 * has none of that digest.
 * @returns nothing when the record is whole, signed, of this very template, and proved
 */
export function trustProblems(
  template: ShownTemplate,
  found: FoundRecord | undefined,
  demand: Demand,
  now: Date,
): Problem[] {
  const { title: where, record } = template;
  if (record === undefined)
    return [
      {
        what: "the template has no record",
        where,
        todo: "bake it from its definition (GoldenImage, docs/images.md): nobody knows what is in a template that was made by hand",
      },
    ];
  if (found === undefined)
    return [
      {
        what: `the record sha256:${record} of the template is not in the store`,
        where: `${where}; ${demand.store}`,
        todo: "copy it from the store of the stack that baked the image, or bake the image again",
      },
    ];
  const statements: [string, Finding<Said>][] = [
    ["provenance", found.provenance],
    ["SBOM", found.sbom],
    ["test results", found.tests],
  ];
  const unfit = statements.flatMap(([name, finding]) => signatureProblems(`the ${name}`, finding, found, demand, now));
  if (unfit.length > 0) return unfit;
  const about = statements.flatMap(([name, finding]) => aboutProblems(name, subjectOf(finding), template, found));
  return [
    ...definitionProblems(found, demand),
    // Statements of one image are wrong about the template in the same way.
    ...about.filter(({ what }, i) => about.findIndex((one) => one.what === what) === i),
    ...testProblems(found),
    ...proofProblems(found, demand, now),
  ];
}

function signatureProblems(
  title: string,
  finding: Finding<Said>,
  { where }: FoundRecord,
  { unsigned }: Pick<Demand, "unsigned">,
  now: Date,
): Problem[] {
  switch (finding.kind) {
    case "unsigned":
      return unsigned === "accepted"
        ? []
        : [
            {
              what: `${title} of the image bears no signature`,
              where,
              todo: "bake with a signing key; or accept records without a signature in the configuration, where nobody else can write to Proxmox and to the store",
            },
          ];
    case "unknownKey":
      return [
        {
          what: `${title} of the image is signed with a key that is not trusted`,
          where: `${where}, key ${finding.id}`,
          todo: "find out whose key it is; add its public part to the list of keys only when it is yours, else bake the image again",
        },
      ];
    case "altered":
      return [
        {
          what: `${title} of the image was changed after it was signed`,
          where,
          todo: "find out who wrote to the store; then copy the record from a backup, or bake the image again",
        },
      ];
    case "signed":
      return timeProblems(title, finding, where, now);
  }
}

function timeProblems(
  title: string,
  { key, statement: { at } }: { key: KeyValidity; statement: Said },
  where: string,
  now: Date,
): Problem[] {
  const time = Date.parse(at);
  const isInside = time >= Date.parse(key.from) && (key.until === undefined || time <= Date.parse(key.until));
  if (!isInside)
    return [
      {
        what: `${title} of the image was signed at ${at}, when the key ${key.name} was not valid`,
        where: `${where}, key ${key.name}: from ${key.from} until ${key.until ?? "now"}`,
        todo: "bake the image again with a key that is valid; or correct the validity in the list of keys, if it is wrong",
      },
    ];
  if (time <= now.getTime() + SKEW_MS) return [];
  return [
    {
      what: `${title} of the image was signed at ${at}, which is in the future`,
      where,
      todo: "compare the clocks of this machine and of the one that signed it; then bake the image again",
    },
  ];
}

function subjectOf(finding: Finding<Said>): ImageSubject | undefined {
  return finding.kind === "signed" || finding.kind === "unsigned" ? finding.statement.subject : undefined;
}

/** The image must have been baked from the definition that the repository has under its name. */
function definitionProblems({ provenance, where }: FoundRecord, { definition }: Demand): Problem[] {
  const said = provenance.kind === "signed" || provenance.kind === "unsigned" ? provenance.statement : undefined;
  if (said === undefined || definition === undefined || said.content === definition) return [];
  const { name, version } = said.subject;
  return [
    {
      what: `the image was baked from another definition than the repository has as ${name} ${version}`,
      where: `${where}: sha256:${said.content}; the repository: sha256:${definition}`,
      todo: "give the definition a new version and bake it; or check out the commit that the image was baked from",
    },
  ];
}

/** What a statement is about must be this template, and the image of the provenance. */
function aboutProblems(
  name: string,
  subject: ImageSubject | undefined,
  { title, identity }: ShownTemplate,
  { where, provenance }: FoundRecord,
): Problem[] {
  const image = subjectOf(provenance);
  if (subject === undefined || image === undefined) return [];
  const found: Problem[] = [];
  if (subject.definition !== image.definition || subject.contents !== image.contents)
    found.push({
      what: `the ${name} of the image and its provenance are of different images`,
      where,
      todo: "find out who wrote to the store of records; then copy the record from a backup, or bake the image again",
    });
  const fault = identityFault(identity, subject.templates);
  if (fault !== undefined) found.push({ ...fault, where: `${title}; ${name} in ${where}` });
  return found;
}

/** The first difference between a template and those that a record is of. */
function identityFault(
  shown: TemplateIdentity,
  recorded: readonly TemplateIdentity[],
): Pick<Problem, "what" | "todo"> | undefined {
  const again = "bake the image again, under a new version; find out who changed the template";
  const own = recorded.find(({ uuid }) => uuid === shown.uuid);
  if (own === undefined)
    return {
      what: `the VM ${shown.uuid} is not the template that its record is of`,
      todo: "a copy or a restored backup is another template: remove it, and bake the image there",
    };
  if (own.name !== shown.name)
    return {
      what: `the template was renamed from ${own.name} to ${shown.name}`,
      todo: `give it its name back (qm set VMID --name ${own.name}); find out who renamed it`,
    };
  if (volumesText(own) !== volumesText(shown))
    return {
      what: `the volumes of the template are ${volumesText(shown)}, and its record has ${volumesText(own)}`,
      todo: again,
    };
  if (own.config !== shown.config)
    return { what: "the configuration of the template was edited after it was recorded", todo: again };
  return undefined;
}

function volumesText({ volumes }: TemplateIdentity): string {
  return volumes.map(({ id, size }) => `${id} (${size ?? "no size"})`).join(", ") || "none";
}

function testProblems({ tests, where }: FoundRecord): Problem[] {
  if (tests.kind !== "signed" && tests.kind !== "unsigned") return [];
  const { failed, isPassed } = tests.statement;
  if (isPassed && failed.length === 0) return [];
  return [
    {
      what: `the image failed its tests: ${failed.join(", ") || "none of them ran"}`,
      where,
      todo: "correct the definition and bake it under a new version",
    },
  ];
}

function proofProblems(found: FoundRecord, demand: Demand, now: Date): Problem[] {
  const { proof } = demand;
  const subject = subjectOf(found.provenance);
  if (proof === undefined || subject === undefined) return [];
  return proof.stacks.flatMap((stack) => {
    const [newest] = proofsOf(found, stack, subject, demand, now);
    return newest === undefined
      ? [notProved(found, stack, demand, now)]
      : provedProblems(newest, found, proof.seconds, now);
  });
}

/** The word of a stack on this definition and these contents, newest first. */
function proofsOf(
  found: FoundRecord,
  stack: string,
  { definition, contents }: ImageSubject,
  demand: Demand,
  now: Date,
): SaidProof[] {
  return found.proofs
    .filter((finding) => signatureProblems("the summary", finding, found, demand, now).length === 0)
    .flatMap((finding) => (finding.kind === "signed" || finding.kind === "unsigned" ? [finding.statement] : []))
    .filter((said) => said.stack === stack && said.subject.definition === definition)
    .filter((said) => said.subject.contents === contents)
    .toSorted((a, b) => Date.parse(b.at) - Date.parse(a.at));
}

function notProved(found: FoundRecord, stack: string, demand: Demand, now: Date): Problem {
  const unfit = found.proofs.flatMap((finding) => signatureProblems("a summary", finding, found, demand, now));
  const [first] = unfit;
  return {
    what: `no stack ${stack} has proved the image`,
    where: `${found.where}: ${found.proofs.length} summaries${first === undefined ? "" : `; ${first.what}`}`,
    todo: `roll the image in ${stack} first; if it ran there, copy its summary into the store of this stack. A summary of other contents does not count`,
  };
}

function provedProblems(
  { stack, since, at, isPassed }: SaidProof,
  { where }: FoundRecord,
  seconds: number,
  now: Date,
): Problem[] {
  if (!isPassed)
    return [
      {
        what: `the stack ${stack} found the image unfit at ${at}`,
        where,
        todo: `see what failed there (npx evergreen history, or the run of ${stack}); correct the definition and bake it under a new version`,
      },
    ];
  const due = new Date(Date.parse(since) + seconds * 1000);
  if (due <= now) return [];
  return [
    {
      what: `the stack ${stack} runs the image since ${since}, which is less than ${daysText(seconds)}`,
      where,
      todo: `run again after ${due.toISOString()}, or ask for less time in the configuration`,
    },
  ];
}

function daysText(seconds: number): string {
  return seconds >= 86_400 ? `${Math.round(seconds / 8640) / 10} days` : `${Math.round(seconds / 360) / 10} hours`;
}
