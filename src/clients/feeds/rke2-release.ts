/** The digests of the files of an RKE2 release. RKE2 signs none of them: what can be done is to ask two sources. */
import { createHash } from "node:crypto";
import { artefactPins, disagreement, parseSums, type Sums } from "../../domain/images/pins.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { requireNone, requireRight } from "./faults.ts";
import { NotThere } from "./fetch-errors.ts";
import { fetchBytes } from "./fetch.ts";
import { placeOf, type Source } from "./source.ts";

/** What is asked for. */
export interface Rke2Query {
  /** One source, or two that must agree. */
  sources: readonly [Source] | readonly [Source, Source];
  /** `v1.36.4+rke2r1` */
  version: string;
  architecture: string;
  /** Names of the files whose digests are wanted. */
  files: readonly string[];
  deadline: Deadline;
}

/** The digests of the files, and the list that they come from. */
export interface Rke2Release {
  artefacts: readonly { file: string; sha256: string }[];
  /** The list, by its name. */
  evidence: ReadonlyMap<string, Uint8Array>;
}

const SUMS_BYTES = 256 * 1024;

/** Where RKE2 publishes the files of a release. */
export function releaseFolder(version: string): URL {
  return new URL(`https://github.com/rancher/rke2/releases/download/${encodeURIComponent(version)}/`);
}

/** Reads the digests of a release. @throws UserError when it has no files at all, or not these, or two sources differ */
export async function readRke2Release(query: Rke2Query): Promise<Rke2Release> {
  const { sources, version, architecture, files } = query;
  const name = `sha256sum-${architecture}.txt`;
  const lists = await Promise.all(sources.map((source) => readSums(source, name, query)));
  const [first, second] = lists;
  if (first === undefined) throw new Error("no source was given");
  // The list itself may be among the artefacts: its digest is not in it.
  const listed = files.filter((file) => file !== name);
  if (second !== undefined)
    requireNone(disagreement(first.sums, second.sums, listed, [first.where, second.where]), `RKE2 ${version}`);
  const artefacts = requireRight(artefactPins(first.sums, listed, version), first.where);
  const own = files.includes(name)
    ? [{ file: name, sha256: createHash("sha256").update(first.bytes).digest("hex") }]
    : [];
  return { artefacts: [...artefacts, ...own], evidence: new Map([[name, first.bytes]]) };
}

async function readSums(
  source: Source,
  name: string,
  { version, deadline }: Rke2Query,
): Promise<{ where: string; bytes: Uint8Array; sums: Sums }> {
  const address = new URL(name, releaseFolder(version));
  const where = placeOf(source, address).href;
  try {
    const bytes = await fetchBytes({ source, address, mostBytes: SUMS_BYTES, deadline });
    return { where, bytes, sums: requireRight(parseSums(bytes.toString("utf8")), where) };
  } catch (error) {
    if (!(error instanceof NotThere)) throw error;
    throw new UserError(
      {
        what: `RKE2 ${version} has no files to download: there is no ${name}`,
        where,
        todo:
          source.kind === "upstream"
            ? "pin another release: some are published for customers of RKE2 Prime only, and have none"
            : "copy the files of the release to the mirror, below github.com/rancher/rke2/releases/download",
      },
      { cause: error },
    );
  }
}
