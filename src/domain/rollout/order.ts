import type { PoolPlan, SlotPlan, Strategy } from "../model/types.ts";

/** What a slot waits for. Each number is a slot whose handover must be over, but for `clone`. */
export interface SlotOrder {
  slot: number;
  /** Slots whose VM must have been cloned before its own: the next ones to be started get the storage first. */
  clone: number[];
  /** Before its VM is cloned. An agent's stays switched off until its node joins. */
  vm: number[];
  /** Before its VM is started and its node joins. */
  join: number[];
  /** True when its handover waits for the pool's gate, which waits for the join of every slot of the pool. */
  gate: boolean;
  /** Before its own handover. */
  handover: number[];
}

/**
 * The order of a run as data: components turn it into edges. Only slots that replace a node are bound; a slot without a
 * predecessor disrupts nobody and runs wide. Servers are the exception: one has come and its predecessor has gone before
 * the next one joins, always. Their VMs boot as soon as they are cloned, RKE2 held back: with one that joins and one that
 * boots, at most two more servers run than there are slots.
 * A slot whose node has fallen comes first. Of servers, since etcd admits nobody and lets nobody healthy go while a voter is
 * dead; of agents, since it is out already and counts. Then, of servers, empty slots, so that a control plane that grows has
 * a majority to spare before one of its servers is replaced.
 */
export function order(plan: Pick<PoolPlan, "role" | "strategy" | "slots">): SlotOrder[] {
  const bySlot = plan.slots.toSorted((a, b) => a.slot - b.slot);
  if (plan.role === "agent") return agentOrder(bySlot, plan.strategy);
  const slots = bySlot.toSorted((a, b) => rank(a) - rank(b));
  const replaces = slots.some((slot) => slot.replaces.length > 0);
  return slots.map((_, index) => oneByOne(slots, index, replaces));
}

/** @param replaces whether a server is replaced: without that, all that run have a slot each */
function oneByOne(slots: readonly SlotPlan[], index: number, replaces: boolean): SlotOrder {
  const next = before(slots, index, 1);
  return {
    slot: slots[index]?.slot ?? -1,
    clone: replaces ? next : [],
    vm: replaces ? before(slots, index, 2) : [],
    join: next,
    gate: false,
    handover: [],
  };
}

function rank({ fallen, replaces }: SlotPlan): number {
  if (fallen === true) return 0;
  return replaces.length === 0 ? 1 : 2;
}

/**
 * Rolling: the k-th node joins after the handover of the one `surge` before it, so never more than `surge` extra agents run. Its
 * VM is cloned one window ahead, so that nobody waits for a clone; old and new disks are all there at the
 * end of a run anyway. Blue-green: all VMs at once, and nobody leaves before everybody has come.
 */
function agentOrder(bySlot: readonly SlotPlan[], strategy: Strategy): SlotOrder[] {
  const slots = bySlot.toSorted((a, b) => Number(isDown(b)) - Number(isDown(a)));
  const moving = slots.filter(({ replaces }) => replaces.length > 0);
  const window = {
    out: slots.filter((slot) => isDown(slot) || slot.replaces.length > 0),
    room: roomOf(slots, strategy),
  };
  return slots.map((slot) => {
    const k = moving.indexOf(slot);
    return k < 0
      ? unbound(slot)
      : { slot: slot.slot, ...arrival(moving, k, strategy), handover: handedOverAfter(slot, window) };
  });
}

function arrival(moving: readonly SlotPlan[], k: number, { kind, surge }: Strategy) {
  if (kind !== "rolling") return { clone: [], vm: [], join: [], gate: true };
  return {
    clone: before(moving, k, surge),
    vm: before(moving, k, 2 * surge),
    join: before(moving, k, surge),
    gate: false,
  };
}

/**
 * A handover waits for the one `room` before it, which is a sliding window without a barrier. Whoever is down stands at the
 * front of the window and is out from the start: it waits for nobody, and of more such slots than there is room, nobody
 * else is handed over before all but `room` of them serve again.
 */
function handedOverAfter(slot: SlotPlan, { out, room }: { out: readonly SlotPlan[]; room: number }): number[] {
  if (isDown(slot)) return [];
  const k = out.indexOf(slot);
  const down = out.filter(isDown).length;
  const first = k - room < down ? out.slice(0, Math.max(0, down - room)) : [];
  return [...first.map((one) => one.slot), ...before(out, k, room)];
}

/** Whether nobody serves in a slot, and this run gives it somebody. */
function isDown({ fallen, unreachable }: SlotPlan): boolean {
  return fallen === true && unreachable?.own !== true;
}

/**
 * How many slots may be out at once beside those whose Proxmox host does not answer: these are out, and nobody knows for how
 * long. What does not concern them goes on, one at a time at the least.
 */
export function roomOf(slots: readonly SlotPlan[], strategy: Strategy): number {
  return roomBeside(slots.filter(({ unreachable }) => unreachable?.own === true).length, strategy);
}

/** Likewise, of a number of slots on such hosts. */
export function roomBeside(silent: number, { maxUnavailable }: Pick<Strategy, "maxUnavailable">): number {
  return Math.max(1, maxUnavailable - silent);
}

/** Agents' slots in which nobody serves, and that come first for it. */
export function downFirst({ role, slots }: Pick<PoolPlan, "role" | "slots">): number[] {
  return role === "agent" ? slots.filter(isDown).map(({ slot }) => slot) : [];
}

function unbound(slot: SlotPlan): SlotOrder {
  return { slot: slot.slot, clone: [], vm: [], join: [], gate: false, handover: [] };
}

function before(slots: readonly SlotPlan[], k: number, distance: number): number[] {
  const one = slots[k - distance];
  return one === undefined ? [] : [one.slot];
}
