import type { PoolPlan, SlotPlan } from "./types.ts";

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
 * A slot whose server has fallen comes first, since etcd admits nobody and lets nobody healthy go while a voter is dead; then
 * empty slots, so that a control plane that grows has a majority to spare before one of its servers is replaced.
 */
export function order(plan: Pick<PoolPlan, "role" | "strategy" | "slots">): SlotOrder[] {
  const bySlot = plan.slots.toSorted((a, b) => a.slot - b.slot);
  const slots = plan.role === "server" ? bySlot.toSorted((a, b) => rank(a) - rank(b)) : bySlot;
  const moving = slots.filter((slot) => slot.replaces.length > 0);
  return slots.map((slot, index) => {
    const k = moving.indexOf(slot);
    if (plan.role === "server") return oneByOne(slots, index, moving.length > 0);
    return k < 0 ? unbound(slot) : bound(moving, k, plan.strategy);
  });
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
 * end of a run anyway. Blue-green: all VMs at once, and nobody leaves before everybody has come. Both: a handover waits for the one
 * `maxUnavailable` before it, which is a sliding window without a barrier.
 */
function bound(moving: readonly SlotPlan[], k: number, strategy: PoolPlan["strategy"]): SlotOrder {
  const rolling = strategy.kind === "rolling";
  return {
    slot: moving[k]?.slot ?? -1,
    clone: rolling ? before(moving, k, strategy.surge) : [],
    vm: rolling ? before(moving, k, 2 * strategy.surge) : [],
    join: rolling ? before(moving, k, strategy.surge) : [],
    gate: !rolling,
    handover: before(moving, k, strategy.maxUnavailable),
  };
}

function unbound(slot: SlotPlan): SlotOrder {
  return { slot: slot.slot, clone: [], vm: [], join: [], gate: false, handover: [] };
}

function before(slots: readonly SlotPlan[], k: number, distance: number): number[] {
  const one = slots[k - distance];
  return one === undefined ? [] : [one.slot];
}
