import { fingerprint } from "./canonical.ts";
import type { Problem } from "./problem.ts";
import type { Generation, NodeSpec } from "./types.ts";

/** A host name, a Node name and a VM name at once: the shortest limit of the three, a DNS label. */
export const NAME_LIMIT = 63;
/** Digits of a generation. */
export const GENERATION_DIGITS = 8;
/** Slots are numbered 0 to 999. */
export const MAX_SLOTS = 1000;

const LABEL = /^[a-z]([a-z0-9-]*[a-z0-9])?$/;
const TAIL = /^(?<pool>[a-z](?:[a-z0-9-]*[a-z0-9])?)-(?<slot>0|[1-9][0-9]{0,2})-(?<generation>[0-9a-f]{8})$/;

/** A generation is named by its content: the same content has the same name, in every run and on every machine. */
export function generationOf(spec: NodeSpec): Generation {
  return { id: fingerprint(content(spec), GENERATION_DIGITS), spec };
}

/**
 * What is hashed. Defaults are left out, so a field that a later release adds does not roll fleets; the order of keys
 * and of taints means nothing to a node, so it means nothing here.
 */
function content(spec: NodeSpec): Partial<NodeSpec> {
  const { labels, taints, startupTaints, rollout, config, incarnation, ...always } = spec;
  return {
    ...always,
    ...(labels !== undefined && Object.keys(labels).length > 0 ? { labels } : {}),
    ...(taints !== undefined && taints.length > 0 ? { taints: taints.toSorted() } : {}),
    ...(startupTaints !== undefined && startupTaints.length > 0 ? { startupTaints: startupTaints.toSorted() } : {}),
    ...(rollout !== undefined && rollout !== 0 ? { rollout } : {}),
    ...(config !== undefined && Object.keys(config).length > 0 ? { config } : {}),
    ...(incarnation !== undefined && incarnation !== 0 ? { incarnation } : {}),
  };
}

/** The same content for a slot that has been there before; 0 is the generation itself. */
export function incarnationOf({ spec }: Generation, incarnation: number): Generation {
  return generationOf({ ...spec, incarnation });
}

/** The generation as it is configured, whatever the incarnation. */
export function lineOf(spec: NodeSpec): string {
  return generationOf({ ...spec, incarnation: 0 }).id;
}

/**
 * The generation of a node that was adopted. Nobody knows its content as we would have written it, so its name stands for
 * it: no configured content has this generation, and a name that was changed since does not have it any more.
 */
export function adoptedGeneration(name: string): string {
  return fingerprint({ adopted: name }, GENERATION_DIGITS);
}

/** True for a node that was not made by us: it keeps its own name, and its VM is not the engine's. */
export function isAdopted({ name, generation }: { name: string; generation: string }): boolean {
  return generation === adoptedGeneration(name);
}

/** VM, Node and host name. A change of content is a new name, so both generations can exist side by side. */
export function nodeName(cluster: string, pool: string, slot: number, generation: string): string {
  return `${cluster}-${pool}-${slot}-${generation}`;
}

export interface NodeNameParts {
  pool: string;
  slot: number;
  generation: string;
}

/** The parts of a name of ours; undefined for every other name. The cluster is given because both names may hold dashes. */
export function parseNodeName(name: string, cluster: string): NodeNameParts | undefined {
  if (!name.startsWith(`${cluster}-`)) return undefined;
  const { pool, slot, generation } = TAIL.exec(name.slice(cluster.length + 1))?.groups ?? {};
  if (pool === undefined || slot === undefined || generation === undefined) return undefined;
  return { pool, slot: Number(slot), generation };
}

/** Why nodes of this pool could not be named. */
export function nameProblems(cluster: string, pool: string, slots: number): Problem[] {
  const problems = [...labelProblems("cluster", cluster), ...labelProblems(`pool ${pool}`, pool)];
  if (slots > MAX_SLOTS) {
    problems.push({
      what: `${slots} slots are more than a pool can have (${MAX_SLOTS})`,
      where: `pool ${pool}`,
      todo: "split it into several pools",
    });
  }
  const longest = nodeName(cluster, pool, Math.max(0, slots - 1), "0".repeat(GENERATION_DIGITS));
  if (longest.length > NAME_LIMIT) {
    problems.push({
      what: `node names such as ${longest} would have ${longest.length} characters, and ${NAME_LIMIT} is the limit of a host name`,
      where: `pool ${pool}`,
      todo: `shorten the name of the cluster or of the pool by ${longest.length - NAME_LIMIT} characters`,
    });
  }
  return problems;
}

function labelProblems(where: string, value: string): Problem[] {
  if (LABEL.test(value)) return [];
  return [
    {
      what: `"${value}" cannot be part of a host name`,
      where,
      todo: "use lower-case letters, digits and dashes, beginning with a letter and ending with a letter or a digit",
    },
  ];
}
