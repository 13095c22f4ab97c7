/**
 * What a run has to do for the images that its stack bakes itself, before it touches a node; and what keeps it from
 * beginning, since a bake that ends in an image which the same run may not clone would be for nothing.
 */
import type { Problem } from "../model/problem.ts";
import { imageOf, type BakeOrder } from "./bake.ts";
import { contentDigest } from "./definition.ts";
import type { FoundRecord, KeyValidity } from "./found-record.ts";
import { trustProblems, type Demand, type ShownTemplate } from "./trust.ts";

/**
 * How far an image is. `missing`: its template is not there, or not ready; `unproved`: nobody has proved it, or it failed;
 * `proved`: a rollout may trust it; `distrusted`: template or record are not as they were, and a proof of ours would hide
 * that; `silent`: the Proxmox host that has it does not answer.
 */
export type ImageState = "missing" | RecordState | "silent";
export type RecordState = "unproved" | "proved" | "distrusted";

/** An image of the configuration's list, as it is found. */
export interface PlannedBake {
  bake: BakeOrder;
  state: ImageState;
}

/** Whether a run has to bake or to prove an image. */
export const isDue = ({ state }: Pick<PlannedBake, "state">): boolean => state === "missing" || state === "unproved";

/** How far a template is that is there. @param found the record that its notes name; undefined: the store has none of that digest */
export function recordState(
  template: ShownTemplate,
  found: FoundRecord | undefined,
  demand: Omit<Demand, "proof">,
  now: Date,
): RecordState {
  if (template.record === undefined) return "unproved";
  if (trustProblems(template, found, demand, now).length === 0) return "proved";
  const hasFailedAlone = found && trustProblems(template, withPassedTests(found), demand, now).length === 0;
  return hasFailedAlone ? "unproved" : "distrusted";
}

function withPassedTests({ tests, ...found }: FoundRecord): FoundRecord {
  if (!("statement" in tests)) return { ...found, tests };
  return { ...found, tests: { ...tests, statement: { ...tests.statement, failed: [], isPassed: true } } };
}

/** What is demanded of records, and the key that the steps of this run sign with. */
export interface SigningDemand {
  unsigned: "refuse" | "accept";
  keys: readonly (KeyValidity & { id: string })[];
  /** Id of the signing key; undefined: none is given. */
  signedBy: string | undefined;
  /** Whether the key counts, as in an update: a preview signs nothing, and may be without. */
  signs: boolean;
  /** Stacks that must have run an image before this one clones it; absent: none. */
  proof?: { stacks: readonly string[] };
}

/**
 * Why what a run bakes and proves would not be trusted afterwards.
 * @param due images that the run bakes or proves
 * @param cloned images that it clones
 */
export function duePlanProblems(
  due: readonly PlannedBake[],
  cloned: ReadonlySet<string>,
  demand: SigningDemand,
  now: Date,
): Problem[] {
  if (due.length === 0) return [];
  const images = due.map(({ bake }) => imageOf(bake));
  return [
    ...keyProblems(images, demand, now),
    ...(demand.proof === undefined ? [] : unprovedElsewhere(images, cloned, demand.proof.stacks)),
  ];
}

function keyProblems(images: readonly string[], demand: SigningDemand, now: Date): Problem[] {
  const { signedBy, keys, unsigned, signs } = demand;
  const list = images.join(", ");
  const where = "the environment, EVERGREEN_IMAGE_KEY";
  if (signedBy === undefined) {
    if (!signs || unsigned === "accept") return [];
    return [
      {
        what: `there is no key to sign the records of ${list} with, and this stack trusts none without a signature`,
        where,
        todo: "export EVERGREEN_IMAGE_KEY with the private key in PEM, or set evergreen:images.unsigned to accept",
      },
    ];
  }
  const key = keys.find(({ id }) => id === signedBy);
  if (key === undefined)
    return [
      {
        what: `the key that would sign the records of ${list} is not among those that this stack trusts`,
        where: `${where}; evergreen:images.keys`,
        todo: "add its public part to the list (openssl pkey -pubout), or sign with one of the list",
      },
    ];
  const isValid = Date.parse(key.from) <= now.getTime() && now.getTime() <= Date.parse(key.until ?? "9999-12-31");
  if (isValid) return [];
  return [
    {
      what: `the key ${key.name}, which would sign the records of ${list}, is not valid now`,
      where: `evergreen:images.keys: from ${key.from}${key.until === undefined ? "" : ` until ${key.until}`}`,
      todo: "sign with a key that is valid, or correct its validity",
    },
  ];
}

function unprovedElsewhere(
  images: readonly string[],
  cloned: ReadonlySet<string>,
  stacks: readonly string[],
): Problem[] {
  return images
    .filter((image) => cloned.has(image))
    .map((image) => ({
      what: `${image} is baked by this run, so no other stack can have proved it, and nodes of it are wanted`,
      where: `evergreen:images.proof: ${stacks.join(", ")}`,
      todo: "leave the pools on their image until the other stack has run the new one, or demand no proof of others here",
    }));
}

/**
 * What a run does for its images, in words, one line for each that is due.
 * @param rolled pools that the run makes nodes in, by image
 */
export function bakeWords(bakes: readonly PlannedBake[], rolled: ReadonlyMap<string, readonly string[]>): string[] {
  return bakes.filter(isDue).map(({ bake, state }) => {
    const image = imageOf(bake);
    const { vmid, place } = bake;
    const pools = rolled.get(image) ?? [];
    const about = `${image} (definition sha256:${contentDigest(bake.definition).slice(0, 16)}, VM ${vmid} on ${place.host})`;
    const first = state === "missing" ? `bake ${about}, prove it` : `prove ${about}`;
    return `${first}, ${pools.length === 0 ? "and no pool gets nodes of it in this run" : `then roll ${pools.join(", ")}`}`;
  });
}
