import { fingerprint } from "./canonical.ts";
import type { NodeHardware } from "./hardware.ts";
import type { Problem } from "./problem.ts";
import type { Generation, NodeSpec } from "./types.ts";

/**
 * Greatest length of a name that serves as host name, Node name and VM name: the shortest limit of the three, a DNS
 * label.
 */
export const NAME_LIMIT = 63;
/** Number of hexadecimal digits of a generation's id. */
export const GENERATION_DIGITS = 8;
/** Greatest number of slots in a pool: slots are numbered 0 to 999. */
export const MAX_SLOTS = 1000;

const LABEL = /^[a-z]([a-z0-9-]*[a-z0-9])?$/;
const TAIL = /^(?<pool>[a-z](?:[a-z0-9-]*[a-z0-9])?)-(?<slot>0|[1-9][0-9]{0,2})-(?<generation>[0-9a-f]{8})$/;

/**
 * The generation of a node's content. Its id is a hash of that content, so the same content has the same id in every
 * run and on every machine.
 */
export function generationOf(spec: NodeSpec): Generation {
  return { id: fingerprint(content(spec), GENERATION_DIGITS), spec };
}

/**
 * The part of a spec that is hashed. Defaults are left out, so a field that a later release adds does not roll existing
 * pools. The order of keys and of taints has no effect on a node, so it has none on the hash.
 */
function content(spec: NodeSpec): object {
  const { labels, annotations, taints, startupTaints, rollout, config, hardware, incarnation, ...always } = spec;
  return {
    ...always,
    ...(labels !== undefined && Object.keys(labels).length > 0 ? { labels } : {}),
    ...(annotations !== undefined && Object.keys(annotations).length > 0 ? { annotations } : {}),
    ...(taints !== undefined && taints.length > 0 ? { taints: taints.toSorted() } : {}),
    ...(startupTaints !== undefined && startupTaints.length > 0 ? { startupTaints: startupTaints.toSorted() } : {}),
    ...(rollout !== undefined && rollout !== 0 ? { rollout } : {}),
    ...(config !== undefined && Object.keys(config).length > 0 ? { config } : {}),
    ...(hardware !== undefined && Object.keys(hardware).length > 0 ? { hardware: built(hardware) } : {}),
    ...(incarnation !== undefined && incarnation !== 0 ? { incarnation } : {}),
  };
}

/** Hardware as a VM has it: the zone of a network only says where the token has its right on it. */
function built({ networks, ...others }: NodeHardware): object {
  return { ...others, ...(networks && { networks: networks.map((card) => ({ ...card, zone: undefined })) }) };
}

/**
 * The same content under another id, for a slot that has had this content before; incarnation 0 is the generation
 * itself.
 */
export function incarnationOf({ spec }: Generation, incarnation: number): Generation {
  return generationOf({ ...spec, incarnation });
}

/** The id of the generation as it is configured, without the incarnation. */
export function lineOf(spec: NodeSpec): string {
  return generationOf({ ...spec, incarnation: 0 }).id;
}

/**
 * The content as a recorded generation has it, when the two differ in the order of CPU flags alone: that has no meaning,
 * so it must not make another generation, and the id of the recorded one depends on it.
 */
export function inRecordedOrder(node: NodeSpec, recorded: readonly Pick<Generation, "spec">[]): NodeSpec {
  const { hardware } = node;
  const known = new Set(recorded.map(({ spec }) => lineOf(spec)));
  if (hardware?.cpu?.flags === undefined || known.has(lineOf(node))) return node;
  const inOrder = (flags: readonly string[] = []) => [...new Set(flags)].toSorted().join();
  const alike = recorded
    .flatMap(({ spec }) => (spec.hardware?.cpu?.flags ? [spec.hardware.cpu.flags] : []))
    .filter((flags) => inOrder(flags) === inOrder(hardware.cpu?.flags))
    .map((flags) => ({ ...node, hardware: { ...hardware, cpu: { ...hardware.cpu, flags } } }));
  return alike.find((one) => known.has(lineOf(one))) ?? node;
}

/**
 * The generation id of an adopted node. The content of such a node is not known in the form of a spec, so the id is
 * derived from the node's name. No configured content has this id, and after a rename the name no longer matches it.
 */
export function adoptedGeneration(name: string): string {
  return fingerprint({ adopted: name }, GENERATION_DIGITS);
}

/** True for a node that Evergreen did not make: it keeps its own name, and its VM is not in the engine's state. */
export function isAdopted({ name, generation }: { name: string; generation: string }): boolean {
  return generation === adoptedGeneration(name);
}

/**
 * Name of the VM, the Node and the host. A change of content gives a new name, so nodes of both generations can exist
 * side by side.
 */
export function nodeName(cluster: string, pool: string, slot: number, generation: string): string {
  return `${cluster}-${pool}-${slot}-${generation}`;
}

export interface NodeNameParts {
  pool: string;
  slot: number;
  generation: string;
}

/**
 * The parts of a name that Evergreen gave; undefined for every other name. The cluster is a parameter because the names
 * of cluster and pool may both hold dashes.
 */
export function parseNodeName(name: string, cluster: string): NodeNameParts | undefined {
  if (!name.startsWith(`${cluster}-`)) return undefined;
  const { pool, slot, generation } = TAIL.exec(name.slice(cluster.length + 1))?.groups ?? {};
  if (pool === undefined || slot === undefined || generation === undefined) return undefined;
  return { pool, slot: Number(slot), generation };
}

/** The reasons why nodes of this pool cannot be named. */
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
