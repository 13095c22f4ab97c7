import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { affinityNodeOf } from "../../clients/kubernetes/local-data.ts";
import { emptierOf, isReady, nameOf } from "../../clients/kubernetes/nodes.ts";
import { readKeptClaims } from "../../clients/kubernetes/kept-claims.ts";
import { readPoolRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import { paths, type Node, type Pod } from "../../clients/kubernetes/types.ts";
import {
  displacedFrom,
  mayBeTransient,
  strictest,
  transient,
  unplaced,
  type Members,
} from "../../domain/availability/placement.ts";
import { successorOf } from "../../domain/drain/by-hand.ts";
import { lineOf } from "../../domain/model/generation.ts";
import { labelsByHost } from "../../domain/model/labels.ts";
import type { StepPlan } from "../../domain/model/step-environment.ts";
import type { Displaced, NodeRecord, PoolRecord } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";
import { awaitEvicted } from "./await-evicted.ts";
import { readNodeView, type NodeView } from "./node-view.ts";
import type { StepContext } from "../context.ts";

/** A node of a slot. */
export type OfSlot = Pick<SlotInput, "pool" | "role" | "slot" | "node">;

/**
 * Records with a node whose pods are about to be evicted: with the one that gets the slot in a handover, else with the one
 * that leaves. When a run is killed after the drain, the record tells which pods have to run elsewhere.
 * @returns what is known of the node with that
 */
export async function rememberDisplaced(
  client: Kubernetes,
  of: OfSlot,
  leaving: ReadonlySet<string>,
): Promise<NodeView["own"]> {
  const { own, record } = await readNodeView(client, of);
  const { items } = await client.list<Pod>(paths.pods);
  const before = owed(record, of);
  const more = displacedFrom(items, leaving, await readKeptClaims(client)).filter((one) => !has(before, one));
  if (own === undefined || more.length === 0) return own;
  const now = { ...own, displaced: [...(own.displaced ?? []), ...more] };
  await writeFacts(client, of.pool, { nodes: [now] });
  return now;
}

/**
 * Controllers whose pods have to run elsewhere before the slot is handed over. They include pods evicted for a node that
 * was given up since, because nothing else waits for them.
 */
export function owed({ nodes }: PoolRecord, { slot }: Pick<SlotInput, "slot">): Displaced[] {
  return strictest(nodes.filter((node) => node.slot === slot).flatMap(({ displaced = [] }) => displaced));
}

function has(some: readonly Displaced[], { namespace, kind, name }: Displaced): boolean {
  return some.some((one) => one.namespace === namespace && one.kind === kind && one.name === name);
}

/**
 * The pods that are not on nodes of the record that have left: the garbage collector takes up to a minute for these. A node
 * may have come back since the record was read.
 */
export function apartFromRetired(pods: readonly Pod[], record: PoolRecord, nodes: readonly Node[]): Pod[] {
  const back = new Set(nodes.filter((node) => isReady(node) && emptierOf(node) === undefined).map(nameOf));
  const retired = record.nodes.filter(({ name, phase }) => phase === "retired" && !back.has(name));
  const gone = new Set(retired.map(({ name }) => name));
  return pods.filter((pod) => !gone.has(pod.spec?.nodeName ?? ""));
}

/** Whose nodes are looked at: those of a generation that comes, or of a plan, stay although they have no slot yet. */
export type Staying = Pick<SlotInput, "pool"> & { generation?: string; plan?: StepPlan };

/** Which nodes stay and which leave, of all that there are. */
type MembersOf = (all: readonly Node[]) => Members;

/**
 * Which nodes stay and which leave, of those that there are: nodes of the pool leave that an unfinished run has left, or
 * whose slot is not wanted any more.
 * @param isWanted whether a slot is. In a handover all count: those that are given up leave after it, and are waited for then
 * @returns whether any leave that have not left yet, and which they are
 */
export function stayingOf(
  { generation, plan }: Staying,
  { nodes }: PoolRecord,
  isWanted: (slot: number) => boolean = () => true,
): { areAny: boolean; among: MembersOf } {
  const comes = (one: NodeRecord) =>
    one.generation === generation || plan?.slots.some(({ name }) => name === one.name) === true;
  const isLeft = (one: NodeRecord) => (one.phase === "made" || one.phase === "joined") && !comes(one);
  const isRetired = ({ phase }: NodeRecord) => phase === "retired";
  const gone = nodes.filter((one) => isRetired(one) || !isWanted(one.slot) || isLeft(one));
  const names = new Set(gone.map(({ name }) => name));
  const among = (all: readonly Node[]) => ({
    stay: all.filter((node) => !names.has(nameOf(node))).map(affinityNodeOf),
    leave: new Set(all.map(nameOf).filter((name) => names.has(name))),
  });
  return { areAny: !gone.every(isRetired), among };
}

/**
 * The same when nodes of other slots leave too that have other content than the node which comes: this run replaces them as
 * well, or a later one. Pods that only they take would go from one to the next, until the last one leaves. What comes in
 * their place stays, with the labels that it will have.
 */
function withReplaced(
  { generation, spec, site }: SlotInput,
  { nodes, generations }: PoolRecord,
  among: MembersOf,
): { replaced: ReadonlySet<string>; among: MembersOf } {
  const specOf = (id: string) => (id === generation ? spec : generations.find((one) => one.id === id)?.spec);
  const isReplaced = ({ phase, generation: id }: NodeRecord) => {
    const its = specOf(id);
    return phase === "handedOver" && (its === undefined || lineOf(its) !== lineOf(spec));
  };
  const before = new Map(
    nodes.filter(isReplaced).map((one) => [one.name, Object.keys(specOf(one.generation)?.labels ?? {})]),
  );
  const given = { labels: spec.labels ?? {}, byHost: labelsByHost(site.topology ?? {}), taints: spec.taints ?? [] };
  return {
    replaced: new Set(before.keys()),
    among: (all) => {
      const { stay, leave } = among(all);
      const come = all.flatMap((node) => {
        const keys = before.get(nameOf(node));
        return keys === undefined ? [] : [successorOf(node, given, keys)];
      });
      return {
        stay: [...stay.filter(({ name }) => !before.has(name)), ...come],
        leave: new Set([...leave, ...all.map(nameOf).filter((name) => before.has(name))]),
      };
    },
  };
}

/**
 * Waits until the pods that a handover has evicted run elsewhere.
 * @throws UserError that names the pods: no other node is drained before they have a place. No image is to blame
 */
export async function awaitPlaced(context: StepContext, client: Kubernetes, input: SlotInput): Promise<void> {
  const record = await readPoolRecord(client, input.pool);
  const displaced = owed(record, input);
  if (displaced.length === 0) return;
  const { areAny, among: amongNow } = stayingOf(input, record);
  const { replaced, among } = withReplaced(input, record, amongNow);
  const own = { ...record, nodes: record.nodes.filter(({ slot }) => slot === input.slot) };
  const kept = await readKeptClaims(client);
  const seconds = input.site.timeouts.gate;
  await awaitEvicted(context, client, {
    seconds,
    displaced,
    left: (pods, wanted, nodes) => {
      const there = apartFromRetired(pods, own, nodes);
      const homeless = unplaced(there, displaced, wanted, kept);
      return [...homeless, ...transient(there, displaced, wanted, among(nodes))];
    },
    looksAtNodes: areAny || ((pods) => mayBeTransient(pods, displaced, replaced)),
    error: (left, cause) =>
      new UserError(
        {
          what: `pods that were evicted for ${input.node} have found no place in ${seconds} s: ${left}`,
          where: `slot ${input.slot} of pool ${input.pool}, whose new node serves`,
          todo: GIVE_ROOM,
        },
        { cause },
      ),
  });
  say(
    displaced.length === 1
      ? "1 controller has its pods elsewhere"
      : `${displaced.length} controllers have their pods elsewhere`,
  );
}

/** What helps pods that have no place. */
export const GIVE_ROOM =
  "give the cluster room, or the labels and taints that these pods ask for, or scale them down; then run again. No other node of the pool is drained before, and the image is not judged";
