import { UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readWantedSlots } from "../../clients/kubernetes/cluster-record.ts";
import { emptierOf, isReady, nameOf } from "../../clients/kubernetes/nodes.ts";
import { readKeptClaims } from "../../clients/kubernetes/kept-claims.ts";
import { readPoolRecord, readSlotRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import type { Node, Pod } from "../../clients/kubernetes/types.ts";
import {
  strictest,
  transient,
  unplaced,
  unscheduled,
  unstarted,
  type Members,
} from "../../domain/availability/placement.ts";
import { hasStarted, startSeconds } from "../../domain/availability/starting.ts";
import { leaves } from "../../domain/drain/drain.ts";
import type { Displaced, NodeRecord, PoolRecord } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";
import { awaitEvicted, type WantedOf } from "./await-evicted.ts";
import { refresh, type DepartingNode } from "./departing-nodes.ts";
import { apartFromRetired, stayingOf, GIVE_ROOM, rememberDisplaced, type Staying } from "./placement.ts";
import type { StepContext } from "../context.ts";

/**
 * Why a node is emptied.
 * - `handover`: another node has its slot.
 * - `retirement`: its slot is given up, or its generation.
 * - `incomplete`: an unfinished run has left it.
 */
export type Emptying = "handover" | "retirement" | "incomplete";

/** The place of a node that is emptied, and what bounds its waits. */
type Place = Pick<SlotInput, "role" | "slot" | "site"> & Staying;

/**
 * What was evicted before does not run yet, so that the next node is not emptied: nothing was disturbed, and no image is
 * to blame.
 */
export class EarlierWait extends UserError {}

/**
 * Waits, before a node that serves is emptied, until what was evicted from other nodes of the pool, in this run or in an
 * earlier one, is made again, has a place and has started there. A node that does not serve is emptied all the same: the
 * pods may wait for what only its drain releases. So is one that this or an earlier run has begun to empty, and of those
 * that an unfinished run has left one on which nothing has started: it takes nothing away.
 *
 * Two handovers may be at work at a time, and each waits for its own pods before its slot is handed over; those that have
 * failed come first in the next run. So a handover asks of them only that they have a place, and of slots that no longer
 * have a node also that they are made again: a new image may be what makes them start.
 * @throws EarlierWait that names the pods
 */
export async function awaitEarlier(
  context: StepContext,
  client: Kubernetes,
  place: Place,
  { name, node, own }: DepartingNode,
  by: Emptying,
): Promise<void> {
  if (node === undefined || !isReady(node) || emptierOf(node) !== undefined || own?.phase === "retired") return;
  const { pool, slot, site } = place;
  const record = await readPoolRecord(client, pool);
  const all = displacedIn(record.nodes);
  if (all.length === 0) return;
  const kept = await readKeptClaims(client);
  // A node that leaves for good is of a generation that may leave as well.
  const isWanted = by === "handover" ? undefined : await readWantedSlots(client, pool, place.role);
  const staying = stayingOf(by === "retirement" ? { pool } : place, record, isWanted);
  const ended = displacedIn(ofEndedSlots(record));
  const takesNothing = (pods: readonly Pod[]) =>
    by === "incomplete" && !pods.some((pod) => pod.spec?.nodeName === name && leaves(pod) && hasStarted(pod));
  const looksAtNodes = by !== "handover" || staying.areAny || ended.length > 0;
  await awaitEvicted(context, client, {
    seconds: site.timeouts.gate,
    displaced: looksAtNodes ? all : [],
    looksAtNodes,
    left: (pods, wanted, nodes) => {
      if (takesNothing(pods)) return [];
      const there = apartFromRetired(pods, record, nodes);
      const members = staying.among(nodes);
      const moving = transient(there, displacedIn(begunOf(record, nodes, members)), wanted, members);
      if (by !== "handover") return [...notRunning(there, all, wanted, kept), ...moving];
      const homeless = [...unscheduled(pods, all, kept), ...unplaced(there, ended, wanted, kept)];
      return [...new Set([...homeless, ...moving])];
    },
    error: (left, cause) =>
      new EarlierWait(
        {
          what: `pods that left earlier nodes of pool ${pool} do not run elsewhere after ${site.timeouts.gate} s: ${left}`,
          where: `slot ${slot}, whose ${name} serves and stays until they do`,
          todo: by === "handover" ? GIVE_ROOM : MAKE_RUN,
        },
        { cause },
      ),
  });
}

/**
 * Waits until a node may be emptied, and records what that evicts.
 * @returns the node with that in its record
 */
export async function prepareEmptying(
  context: StepContext,
  client: Kubernetes,
  place: Place,
  departing: DepartingNode,
  by: Emptying,
): Promise<DepartingNode> {
  const now = await refresh(client, departing);
  await awaitEarlier(context, client, place, now, by);
  if (now.node === undefined) return departing;
  const own = await rememberDisplaced(client, { ...place, node: now.name }, new Set([now.name]));
  return own === undefined ? departing : { ...departing, own };
}

/**
 * Waits until what a node's retirement has evicted runs elsewhere, and takes it out of the record.
 * @throws UserError that names the pods. The record has them still: the next run waits for them before the VM goes
 */
export async function awaitEvictedRun(
  context: StepContext,
  client: Kubernetes,
  { pool, role, slot, node, vmid, site }: Pick<SlotInput, "pool" | "role" | "slot" | "node" | "vmid" | "site">,
): Promise<void> {
  const own = (await readSlotRecord(client, pool, slot)).nodes.find(({ name }) => name === node);
  if (own?.displaced === undefined) return;
  const record = await readPoolRecord(client, pool);
  const staying = stayingOf({ pool }, record, await readWantedSlots(client, pool, role));
  const displaced = strictest(own.displaced);
  const kept = await readKeptClaims(client);
  const seconds = startSeconds(site.timeouts);
  await awaitEvicted(context, client, {
    seconds,
    displaced,
    looksAtNodes: true,
    left: (pods, wanted, nodes) => {
      const there = apartFromRetired(pods, record, nodes);
      return [
        ...notRunning(there, displaced, wanted, kept),
        ...transient(there, displaced, wanted, staying.among(nodes)),
      ];
    },
    error: (left, cause) =>
      new UserError(
        {
          what: `pods that left ${node} do not run elsewhere after ${seconds} s: ${left}`,
          where: `slot ${slot} of pool ${pool}, which ${node} has left for good; VM ${vmid} stays, off`,
          todo: MAKE_RUN,
        },
        { cause },
      ),
  });
  const now = (await readSlotRecord(client, pool, slot)).nodes.find(({ name }) => name === node);
  const { displaced: evicted, ...rest } = now ?? own;
  if (evicted === undefined) return;
  await writeFacts(client, pool, { nodes: [rest] });
}

const MAKE_RUN =
  "see why they do not run (kubectl describe pod, kubectl get events): give the cluster room, or the labels and taints that they ask for; bring back what they wait for, such as a registry, a driver of volumes, a quota or a webhook; or scale them down. Then run again. No other node of the pool is emptied before, and the image is not judged";

function notRunning(
  pods: readonly Pod[],
  displaced: readonly Displaced[],
  wanted: WantedOf,
  kept: ReadonlySet<string>,
): string[] {
  return [...unplaced(pods, displaced, wanted, kept), ...unstarted(pods, displaced, wanted, kept)];
}

const displacedIn = (nodes: readonly NodeRecord[]): Displaced[] =>
  strictest(nodes.flatMap(({ displaced = [] }) => displaced));

/** The nodes of slots that no longer have one: no handover of these slots waits for what was evicted. */
function ofEndedSlots({ nodes }: PoolRecord): NodeRecord[] {
  const slots = new Set(nodes.filter(({ phase }) => phase !== "retired").map(({ slot }) => slot));
  return nodes.filter(({ slot }) => !slots.has(slot));
}

/**
 * The nodes of which what is recorded was evicted, or has begun to be: those that have left or are being emptied, and those
 * that stay, to which a slot is handed over. A node that is to leave has it in its record a moment earlier.
 */
function begunOf(record: PoolRecord, nodes: readonly Node[], { leave }: Members): NodeRecord[] {
  const waits = new Set(nodes.filter((node) => emptierOf(node) === undefined).map(nameOf));
  return record.nodes.filter(({ name, phase }) => phase === "retired" || !leave.has(name) || !waits.has(name));
}
