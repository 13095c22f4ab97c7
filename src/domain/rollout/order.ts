import type { PoolPlan, SlotPlan, Strategy } from "../model/types.ts";

/** What a slot waits for. Each number is a slot whose handover must be over, except in `clone` and `joined`. */
export interface SlotOrder {
  slot: number;
  /** Slots whose VM must be cloned before its own, so that the next VMs to start get the storage's bandwidth first. */
  clone: number[];
  /** Before its VM is cloned. The VM of an agent stays off until its node joins. */
  vm: number[];
  /** Before its VM is started and its node joins. */
  join: number[];
  /** Slots whose node must have joined, and not more, before its own node joins. Absent: none. */
  joined?: number[];
  /** Whether its handover waits for the pool's gate, which waits for the join of every slot of the pool. */
  gate: boolean;
  /** Before its own handover. */
  handover: number[];
}

/**
 * The order of a run as data; components turn it into edges. Only slots that replace a node are ordered; a slot without
 * a predecessor disrupts nothing and runs in parallel. Servers are the exception: a server has always joined and its
 * predecessor has left before the next server joins. Their VMs boot as soon as they are cloned, with RKE2 held back:
 * with one server that joins and one that boots, at most two more servers run than there are slots.
 * A slot whose node is down comes first. For agents, because the slot is out already and counts as such; for servers,
 * because etcd admits no member and lets no healthy member leave while a voter is dead. Slots without a voter come next,
 * so that a control plane has a majority to spare before one of its servers is replaced: also before the handover of a
 * slot whose next node alone is down, which only joins before them. Then come slots with an open handover: no other server
 * is drained before what they have evicted runs.
 * @param clonesAtOnce most VMs that are cloned at the same time, beside what the strategy allows
 */
export function order(plan: Pick<PoolPlan, "role" | "strategy" | "slots">, clonesAtOnce = Infinity): SlotOrder[] {
  const bySlot = plan.slots.toSorted((a, b) => a.slot - b.slot);
  const orders = plan.role === "agent" ? agentOrder(bySlot, plan.strategy) : serverOrder(bySlot);
  if (clonesAtOnce === Infinity) return orders;
  const made = new Set(bySlot.flatMap(({ slot, creates }) => (creates ? slot : [])));
  // Those that wait for nothing come first: the clone of a new slot must not wait for a handover that may need its room.
  const isFree = ({ clone, vm }: SlotOrder) => clone.length + vm.length === 0;
  const all = orders.toSorted((a, b) => Number(isFree(b)) - Number(isFree(a)));
  const cloned = all.map(({ slot }) => slot).filter((slot) => made.has(slot));
  return all.map((one) => {
    const first = cloned[cloned.indexOf(one.slot) - clonesAtOnce];
    return first === undefined || one.clone.includes(first) ? one : { ...one, clone: [...one.clone, first] };
  });
}

function serverOrder(bySlot: readonly SlotPlan[]): SlotOrder[] {
  const ranked = bySlot.toSorted((a, b) => rank(a) - rank(b));
  const held = ranked.some(isVoterless) ? ranked.filter(isNextDown) : [];
  const last = ranked.findLastIndex((slot) => rank(slot) <= Rank.voterless) + 1;
  const others = ranked.filter((slot) => !held.includes(slot));
  const slots = others.toSpliced(last - held.length, 0, ...held);
  const replaces = slots.some((slot) => slot.replaces.length > 0);
  return slots.map((slot, index) => {
    const one = oneByOne(slots, index, replaces);
    if (held.includes(slot)) return { ...one, vm: [], clone: [], join: [], handover: one.join };
    return held.length > 0 && isVoterless(slot) ? { ...one, joined: held.map((first) => first.slot) } : one;
  });
}

/**
 * The order of one server.
 * @param replaces whether a server is replaced: if not, every running server has its own slot
 */
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

/** Places in the order of servers. */
const Rank = { voterDown: 0, voterless: 1, open: 2, any: 3 } as const;

function rank({ down, voterDown, replaces, open }: SlotPlan): number {
  if (voterDown === true) return Rank.voterDown;
  if (down === true || replaces.length === 0) return Rank.voterless;
  return open === true ? Rank.open : Rank.any;
}

/** Whether the slot has no voter, as far as is known, or has nothing to hand over. */
const isVoterless = (slot: SlotPlan): boolean => rank(slot) === Rank.voterless;

/** Whether the next node of the slot is down in etcd, and its owner is well: the join mends it, the handover may wait. */
const isNextDown = (slot: SlotPlan): boolean =>
  slot.voterDown === true && slot.down !== true && slot.replaces.length > 0;

/**
 * Rolling: the k-th node joins after the handover of the node `surge` places before it, so never more than `surge`
 * extra agents run. Its VM is cloned one window ahead, so that no join waits for a clone; old and new disks all exist
 * at the end of a run anyway. Blue-green: all VMs at once, and no node leaves before every new node has joined.
 */
function agentOrder(bySlot: readonly SlotPlan[], strategy: Strategy): SlotOrder[] {
  const slots = bySlot.toSorted((a, b) => outRank(a) - outRank(b));
  const moving = slots.filter(({ replaces }) => replaces.length > 0);
  const window = {
    out: slots.filter((slot) => isDown(slot) || isOpen(slot) || slot.replaces.length > 0),
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
 * A handover waits for the handover `room` places before it: a sliding window without a barrier. Slots that are down
 * stand at the front of the window, and then those with an open handover: both are out from the start, for what an open
 * one has evicted may run nowhere. When there are more of them than `room`, no other slot is handed over before all but
 * `room` of them are over. A slot that is down waits for no other, also not for an open one with a node left to drain;
 * an open one without such a node drains nothing, and waits for nobody.
 */
function handedOverAfter(slot: SlotPlan, { out, room }: { out: readonly SlotPlan[]; room: number }): number[] {
  if (isDown(slot)) return [];
  const k = out.indexOf(slot);
  // An open slot is out itself: it waits for those that are down.
  const alreadyOut = out.filter((one) => isDown(one) || (isOpen(one) && !isOpen(slot))).length;
  const first = k - room < alreadyOut ? out.slice(0, Math.max(0, alreadyOut - room)) : [];
  return [...first.map((one) => one.slot), ...before(out, k, room)];
}

/** Whether no node serves in a slot, and this run brings one. */
function isDown({ down, unreachable }: SlotPlan): boolean {
  return down === true && unreachable?.own !== true;
}

/** Whether an earlier run has begun the handover of a slot, and what it has evicted may have no place yet. */
function isOpen({ open, unreachable }: SlotPlan): boolean {
  return open === true && unreachable?.own !== true;
}

function outRank(slot: SlotPlan): number {
  if (isDown(slot)) return 0;
  return isOpen(slot) ? 1 : 2;
}

/**
 * How many slots may be out at once in addition to those whose Proxmox host does not answer: these are out already, for
 * an unknown time. Other slots go on, at least one at a time.
 */
export function roomOf(slots: readonly SlotPlan[], strategy: Strategy): number {
  return roomBeside(slots.filter(({ unreachable }) => unreachable?.own === true).length, strategy);
}

/** The same for a number of slots on such hosts. */
export function roomBeside(silent: number, { maxUnavailable }: Pick<Strategy, "maxUnavailable">): number {
  return Math.max(1, maxUnavailable - silent);
}

/** Slots of agents in which no node serves, and that therefore come first. */
export function downFirst({ role, slots }: Pick<PoolPlan, "role" | "slots">): number[] {
  return role === "agent" ? slots.filter(isDown).map(({ slot }) => slot) : [];
}

/** Slots whose handover an earlier run has begun, and that therefore come first. */
export function openFirst({ slots }: Pick<PoolPlan, "slots">): number[] {
  return slots.filter((slot) => isOpen(slot) && !isDown(slot)).map(({ slot }) => slot);
}

function unbound(slot: SlotPlan): SlotOrder {
  return { slot: slot.slot, clone: [], vm: [], join: [], gate: false, handover: [] };
}

function before(slots: readonly SlotPlan[], k: number, distance: number): number[] {
  const one = slots[k - distance];
  return one === undefined ? [] : [one.slot];
}
