import type { PoolPlan, SlotPlan } from "./types.ts";

/** What a slot waits for. Each number is a slot whose handover must be over. */
export interface SlotOrder {
  slot: number;
  /** Before its VM is cloned (and, through the VM, before it is started). */
  vm: number[];
  /** Before its node joins: at most one member of etcd comes or goes at a time. */
  join: number[];
  /** True when its handover waits for the pool's gate, which waits for the join of every slot that has this. */
  gate: boolean;
  /** Before its own handover. */
  handover: number[];
}

/**
 * The order of a run as data: components turn it into edges. Only slots that replace a node are bound; a slot without a
 * predecessor disrupts nobody and runs wide. Servers are the exception: one has come and its predecessor has gone before
 * the next one joins, always.
 */
export function order(plan: Pick<PoolPlan, "role" | "strategy" | "slots">): SlotOrder[] {
  const slots = plan.slots.toSorted((a, b) => a.slot - b.slot);
  const moving = slots.filter((slot) => slot.replaces.length > 0);
  return slots.map((slot, index) => {
    const k = moving.indexOf(slot);
    const bounds = k < 0 ? unbound(slot) : bound(moving, k, plan.strategy);
    return plan.role === "server" ? { ...bounds, join: before(slots, index, 1), handover: [] } : bounds;
  });
}

/**
 * Rolling: the k-th VM waits for the handover of the one `surge` before it, so never more than `surge` extra VMs run.
 * Blue-green: all VMs at once, and nobody leaves before everybody has come. Both: a handover waits for the one
 * `maxUnavailable` before it, which is a sliding window without a barrier.
 */
function bound(moving: readonly SlotPlan[], k: number, strategy: PoolPlan["strategy"]): SlotOrder {
  const rolling = strategy.kind === "rolling";
  return {
    slot: moving[k]?.slot ?? -1,
    vm: rolling ? before(moving, k, strategy.surge) : [],
    join: [],
    gate: !rolling,
    handover: before(moving, k, strategy.maxUnavailable),
  };
}

function unbound(slot: SlotPlan): SlotOrder {
  return { slot: slot.slot, vm: [], join: [], gate: false, handover: [] };
}

function before(slots: readonly SlotPlan[], k: number, distance: number): number[] {
  const one = slots[k - distance];
  return one === undefined ? [] : [one.slot];
}
