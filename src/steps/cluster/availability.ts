import { momentNow, msSince, type Moment } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { findNode, isReady, nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { readWantedSlots } from "../../clients/kubernetes/cluster-record.ts";
import { paths, type Node } from "../../clients/kubernetes/types.ts";
import { ProxmoxError } from "../../clients/proxmox/errors.ts";
import { tagsOf } from "../../clients/proxmox/tags.ts";
import { isRunning, listVms, type ListedVm } from "../../clients/proxmox/vms.ts";
import { emptySlots, type SlotNode } from "../../domain/availability/availability.ts";
import { roomBeside } from "../../domain/rollout/order.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";
import { withLease, disruptionLeases, type StepContext } from "../context.ts";
import { labels } from "../../domain/model/formats.ts";

/** The slot that a node is removed from. */
type Place = Pick<SlotInput, "cluster" | "pool" | "role" | "slot" | "strategy" | "site">;

/** A departing node and its VM; `vm` is undefined when the VM is not seen. */
interface Leaving {
  name: string;
  vm: { host: string; vmid: number } | undefined;
}

/**
 * Other slots of the pool went down after a disruption lease was taken; the wait for them holds no lease. Nothing was
 * disturbed, and no image is to blame.
 */
export class NoRoom extends UserError {}

/** Time between two checks, in milliseconds: the list of VMs is up to ten seconds old. */
const paceMs = 2_000;
/**
 * How long an observation counts as current, in milliseconds: a new one within that time would mostly show the same
 * list.
 */
const freshMs = 5_000;

/**
 * How many disruption leases the other slots of a pool leave free, and their slots in which no node serves, in words.
 */
interface Look {
  room: number;
  down: string[];
  /** When the observation began. */
  since: Moment;
}

/** The VMs of the data centre, and when reading them began. */
export interface VmList {
  vms: readonly ListedVm[];
  since: Moment;
}

/** Whether an observation made at `since` need not be repeated. */
export function isFresh(since: Moment): boolean {
  return msSince(since) < freshMs;
}

/**
 * Runs work that may end in NoRoom, and repeats it from the beginning until there is room.
 * @param work receives whether this is a repetition
 * @throws NoRoom when there is still no room `gateSeconds` after the first attempt failed
 */
export async function retryUntilRoom(
  context: StepContext,
  { site }: Pick<Place, "site">,
  work: (again: boolean) => Promise<void>,
): Promise<void> {
  let deadline: Deadline | undefined;
  for (;;)
    try {
      await work(deadline !== undefined);
      return;
    } catch (error) {
      if (!(error instanceof NoRoom) || deadline?.passed === true) throw error;
      say(`${error.problem.what}: they are waited for`);
      deadline ??= new Deadline("slots that fall no more", site.timeouts.gate, context.stop);
    }
}

/**
 * Takes nodes of a slot out of service under a disruption lease of the pool. Slots in which no node serves count
 * against the leases too, from the last one on: the slots that were down when the run was planned come first in it
 * (src/domain/rollout/order.ts), and more may go down while it runs. No lease is held during the wait for such slots,
 * because the steps that fill them may need it. For servers etcd alone decides.
 * @param work must call `mayBegin` right before it disturbs a node
 * @param listed the VMs, as they were listed last; a fresh list is not read again. @default none
 * @throws UserError that names the slots when the wait for them is in vain. No image is to blame
 * @throws NoRoom when another slot has gone down before a node was disturbed
 */
export async function withDisruptionLease(
  context: StepContext,
  access: Access,
  place: Place,
  leaving: readonly Leaving[],
  work: (disruption: Fence, mayBegin: (one: Leaving) => Promise<void>) => Promise<void>,
  listed?: VmList,
): Promise<void> {
  const { client } = access;
  const { names, look } = await freeLeases(context, client, place, leaving, listed);
  await withLease(context, access, names, place.site.timeouts.lease, (disruption, name) =>
    work(disruption, (one) => requireRoom(context, client, place, one, name, look)),
  );
}

/**
 * The disruption leases that the other slots of the pool leave free; waits until one is free. Nodes that do not serve
 * may use any of them.
 */
async function freeLeases(
  context: StepContext,
  client: Kubernetes,
  place: Place,
  leaving: readonly Leaving[],
  listed: VmList | undefined,
): Promise<{ names: readonly string[]; look?: Look }> {
  const all = disruptionLeases(place);
  if (place.role === "server") return { names: all };
  const look = await lookAtOthers(context, client, place, listed);
  if (look.room >= all.length) return { names: all, look };
  const serving = await findServingNodes(context, client, leaving);
  if (serving.length === 0) return { names: all, look };
  if (look.room > 0) return { names: all.slice(0, look.room), look };
  let { down } = look;
  const deadline = new Deadline("the other slots of the pool to serve", place.site.timeouts.gate, context.stop);
  const left = deadline.poll(paceMs, async () => {
    const again = await lookAtOthers(context, client, place);
    down = again.down;
    return again.room > 0 ? { names: all.slice(0, again.room), look: again } : undefined;
  });
  return await left.catch((error: unknown) => {
    if (!(error instanceof DeadlineError)) throw error;
    throw new UserError(
      {
        ...held(place, serving, down, `, waited for ${deadline.seconds} s`),
        todo: "run again: the next run brings back or replaces first what is down when it begins. The image is not judged",
      },
      { cause: error },
    );
  });
}

/**
 * Checks again right before a node is disturbed: the waits before it may have been long.
 * @param lease name of the lease that is held: while other slots are down, only the first leases count
 * @param before the observation from before those waits. @default none
 */
async function requireRoom(
  context: StepContext,
  client: Kubernetes,
  place: Place,
  one: Leaving,
  lease: string,
  before?: Look,
): Promise<void> {
  if (place.role === "server") return;
  const { room, down } = before && isFresh(before.since) ? before : await lookAtOthers(context, client, place);
  if (disruptionLeases(place).indexOf(lease) < room || (await findServingNodes(context, client, [one])).length === 0)
    return;
  throw new NoRoom({ ...held(place, [one], down), todo: "nothing was disturbed; run again" });
}

/**
 * Makes the same check for an incomplete node beside the owner of its slot.
 * @param owner undefined: the slot has no owner
 * @throws NoRoom when the owner does not serve any more: the incomplete node may be the only node with pods
 */
export async function requireOwner(
  context: StepContext,
  client: Kubernetes,
  { pool, slot }: Pick<Place, "pool" | "slot">,
  one: Leaving,
  owner: Leaving | undefined,
): Promise<void> {
  const owners = owner === undefined ? [] : [owner];
  const [serves, isServed] = await Promise.all([
    findServingNodes(context, client, [one]),
    findServingNodes(context, client, owners),
  ]);
  if (serves.length === 0 || isServed.length > 0) return;
  throw new NoRoom({
    what: owner
      ? `${one.name} is not drained: ${owner.name}, whose slot it is, does not serve`
      : `${one.name} is not drained: nobody else has its slot`,
    where: `slot ${slot} of pool ${pool}`,
    todo: "nothing was disturbed; run again",
  });
}

function held({ pool, slot, strategy }: Place, leaving: readonly Leaving[], down: readonly string[], more = "") {
  const names = leaving.map(({ name }) => name).join(" and ");
  return {
    what: `${names} is not drained: ${down.join(", ")}, and at most ${strategy.maxUnavailable} may be out at once`,
    where: `slot ${slot} of pool ${pool}, whose ${names} serves on${more}`,
  };
}

/** The nodes whose drain would take capacity away. A Node looks Ready for a while after its VM has lost its power. */
async function findServingNodes(
  context: StepContext,
  client: Kubernetes,
  leaving: readonly Leaving[],
): Promise<readonly Leaving[]> {
  const serves = await Promise.all(
    leaving.map(async ({ name, vm }) => {
      const node = await findNode(client, name);
      return node !== undefined && isReady(node) && (vm === undefined || (await isRunning(context.pve, vm)));
    }),
  );
  return leaving.filter((_, index) => serves[index]);
}

/**
 * Observes the other slots of the pool. Slots whose VM is on a silent host may be out for any length of time, so work
 * continues beside them, one slot at a time at the least.
 * @param listed the VMs, as they were listed last; a fresh list is not read again, and dates the observation. @default none
 */
export async function lookAtOthers(
  context: StepContext,
  client: Kubernetes,
  place: Place,
  listed?: VmList,
): Promise<Look> {
  const known = listed && isFresh(listed.since) ? listed : undefined;
  const since = known?.since ?? momentNow();
  const { pool, slot, strategy } = place;
  const [{ nodes: records }, isWanted, nodes, vms] = await Promise.all([
    readPoolRecord(client, pool),
    readWantedSlots(client, pool, "agent"),
    client.list<Node>(paths.nodes),
    known?.vms ?? listVms(context.pve),
  ]);
  const others = records.filter((one) => one.slot !== slot && isWanted(one.slot));
  const powers = new Map(
    await Promise.all(others.map(async (one) => [one.name, await readPowerState(context, vms, place, one)] as const)),
  );
  const serving = nodes.items.map((node) => slotNode(node, pool)).filter(({ name }) => powers.get(name) !== "off");
  const empty = emptySlots(others, serving);
  const heard = empty.filter(({ owner }) => powers.get(owner.name) !== "silent");
  const why = ({ name }: NodeRecord) =>
    powers.get(name) === "off" ? `the VM of ${name} is off` : `${name} is not Ready`;
  const down = heard.map((one) => `nobody serves in slot ${one.slot} (${why(one.owner)})`);
  return { room: roomBeside(empty.length - heard.length, strategy) - heard.length, down, since };
}

/**
 * `unseen`: Proxmox says nothing of the VM, so its Node decides. `silent`: Proxmox says nothing, and the VM's host does
 * not answer.
 */
type PowerOf = "on" | "off" | "silent" | "unseen";

/**
 * Whether the VM of a node runs, as the list says; a Node looks Ready for most of a minute after its VM has lost its
 * power. Where the list has no status, the host is asked: while the statistics daemon of a host hangs, none of its VMs
 * has one. A VM whose VMID belongs to another VM by now is gone and counts as off.
 */
async function readPowerState(
  { pve }: StepContext,
  vms: readonly ListedVm[],
  { cluster, pool }: Place,
  { name, vmid, slot, generation, phase }: NodeRecord,
): Promise<PowerOf> {
  const vm = vms.find((one) => one.vmid === vmid);
  if (vm === undefined || phase === "retired") return "unseen";
  const isOurs = vm.name === name || tagsOf({ cluster, pool, slot, generation }).every((tag) => vm.tags.includes(tag));
  if (!isOurs) return "off";
  if (vm.status !== "unknown" || vm.state !== undefined) return vm.status === "stopped" ? "off" : "on";
  return await isRunning(pve, vm).then(
    (running) => (running ? "on" : "off"),
    (error: unknown) => {
      if (!(error instanceof ProxmoxError)) throw error;
      return error.silentHost === undefined ? "unseen" : "silent";
    },
  );
}

/** The slot of the pool that a Node serves in, if any, and whether the Node is Ready. */
function slotNode(node: Node, pool: string): SlotNode {
  const labelled = node.metadata?.labels ?? {};
  const slot = labelled[labels.pool] === pool ? labelled[labels.slot] : undefined;
  return { name: nameOf(node), slot: slot === undefined ? undefined : Number(slot), isReady: isReady(node) };
}
