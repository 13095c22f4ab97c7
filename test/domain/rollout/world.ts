import { generationOf, nodeName } from "../../../src/domain/model/generation.ts";
import { plan } from "../../../src/domain/rollout/plan.ts";
import type {
  GenerationState,
  ObservedNode,
  ObservedVm,
  NodeSpec,
  ObservedPool,
  PoolPlan,
  PoolRecord,
  PoolSpec,
  SlotPhase,
  Strategy,
} from "../../../src/domain/model/types.ts";

/** Contents of nodes, from old to new. */
export const A = content("v1.0.0");
export const B = content("v1.1.0");
export const C = content("v1.2.0");
export const ID = { a: generationOf(A).id, b: generationOf(B).id, c: generationOf(C).id };

export const NOW = new Date("2026-03-01T12:00:00Z");
export const AN_HOUR_AGO = "2026-03-01T11:00:00.000Z";

export function content(version: string): NodeSpec {
  return { image: `ubuntu-24.04-rke2-${version}`, rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
}

export function poolOf(
  node: NodeSpec,
  changes: Partial<Omit<PoolSpec, "strategy">> & { strategy?: Partial<Strategy> } = {},
): PoolSpec {
  const strategy: Strategy = { kind: "rolling", surge: 2, maxUnavailable: 1, soakSeconds: 0, onFailure: "hold" };
  return {
    cluster: "demo",
    name: "workers",
    role: "agent",
    slots: 4,
    node,
    range: { first: 1100, last: 1199, firstAddress: "127.40.0.101" },
    ...changes,
    strategy: { ...strategy, ...changes.strategy },
  };
}

/** What a slot holds in a test: the content of a node and how far it came. */
export interface Held {
  slot: number;
  spec: NodeSpec;
  phase: SlotPhase | "unrecorded";
  /** @default on and Ready, except when retired */
  well?: boolean;
  /** @default true, except when retired */
  node?: boolean;
  since?: string;
  /** When it became Ready. @default not said */
  readySince?: string;
}

export interface World {
  observed: ObservedPool;
  record: PoolRecord | undefined;
}

export function world(held: readonly Held[], states: [NodeSpec, GenerationState, string?][]): World {
  const members = held.map((one, i) => memberOf(one, 1100 + i));
  const vms = members.map((one) => one.vm);
  return {
    observed: { vms, nodes: members.flatMap((one) => one.node), takenVmids: vms.map((vm) => vm.vmid) },
    record: {
      pool: "workers",
      generations: states.map(([spec, state, since = AN_HOUR_AGO]) => ({ ...generationOf(spec), state, since })),
      nodes: members.flatMap((one) => one.record),
    },
  };
}

/** `count` slots that were handed over to nodes of one content. */
export function settled(spec: NodeSpec, count = 4, first = 0): Held[] {
  return Array.from({ length: count }, (_, k) => ({ slot: first + k, spec, phase: "handedOver" }));
}

function memberOf({ slot, spec, phase, well, node, since, readySince }: Held, vmid: number) {
  const generation = generationOf(spec).id;
  const name = nodeName("demo", "workers", slot, generation);
  const uuid = `uuid-${name}-${vmid}`;
  const on = well ?? phase !== "retired";
  const common = { name, uuid, pool: "workers", slot, generation };
  const vm: ObservedVm = { ...common, vmid, host: "pve1", running: on };
  const ready = { ready: on, ...(readySince === undefined ? {} : { readySince }) };
  const member: ObservedNode = { ...common, ...ready, schedulable: true, kubelet: spec.rke2, role: "agent" };
  return {
    vm,
    node: (node ?? phase !== "retired") ? [member] : [],
    record: phase === "unrecorded" ? [] : [{ name, slot, generation, vmid, uuid, phase, since: since ?? AN_HOUR_AGO }],
  };
}

export function nameOf(slot: number, spec: NodeSpec): string {
  return nodeName("demo", "workers", slot, generationOf(spec).id);
}

/** The world after a run that carried the plan out, as the steps would leave it. */
export function carriedOut(pool: PoolSpec, before: World, done: PoolPlan, at: Date): World {
  const since = at.toISOString();
  const held: World = { observed: { vms: [], nodes: [], takenVmids: [] }, record: undefined };
  const generations = new Map(before.record?.generations.map((one) => [one.id, one]));
  const nodes = new Map(before.record?.nodes.map((one) => [one.name, one]));
  for (const name of [...done.leaving, ...done.slots.flatMap((slot) => slot.replaces)]) {
    const left = nodes.get(name);
    if (left) nodes.set(name, { ...left, phase: "retired", since });
  }
  for (const { slot, name, vmid, generation } of done.slots) {
    const existing = before.observed.vms.find((vm) => vm.name === name);
    const uuid = existing?.uuid ?? `uuid-${name}-${vmid}`;
    const common = { name, uuid, pool: pool.name, slot, generation: generation.id };
    held.observed.vms.push({ ...common, vmid, host: "pve1", running: true });
    held.observed.nodes.push({
      ...common,
      ready: true,
      schedulable: true,
      kubelet: generation.spec.rke2,
      role: pool.role,
    });
    const known = nodes.get(name);
    const kept = known?.phase === "handedOver" ? known.since : since;
    nodes.set(name, { name, slot, generation: generation.id, vmid, uuid, phase: "handedOver", since: kept });
    if (!generations.has(generation.id)) generations.set(generation.id, { ...generation, state: "rolling", since });
  }
  const { verdict } = done;
  const judged = verdict && generations.get(verdict.generation);
  const isWatched = verdict?.state === "soaking" && verdict.watchSeconds !== undefined;
  if (verdict && judged && (judged.state !== verdict.state || isWatched))
    generations.set(judged.id, { ...judged, state: verdict.state, since });
  held.observed.takenVmids = held.observed.vms.map((vm) => vm.vmid);
  held.record = {
    pool: pool.name,
    generations: [...generations.values()],
    nodes: [...nodes.values()],
    ...(done.healing === undefined ? {} : { healing: done.healing }),
  };
  return held;
}

export function planned(pool: PoolSpec, at: World, now = NOW): PoolPlan {
  return plan(pool, at.observed, at.record, now);
}

/** Nothing was ever made. */
export const NOTHING: World = { observed: { vms: [], nodes: [], takenVmids: [] }, record: undefined };
/** The memory of a pool whose first generation holds. */
export const PROVED_A: [NodeSpec, GenerationState][] = [[A, "proved"]];

/** A wave from A to B that stopped: slot 0 is handed over, slot 1 has its new node, slots 2 and 3 have only the old. */
export const HALF_WAY: Held[] = [
  { slot: 0, spec: A, phase: "retired" },
  { slot: 0, spec: B, phase: "handedOver", since: "2026-03-01T11:30:00.000Z" },
  { slot: 1, spec: A, phase: "handedOver" },
  { slot: 1, spec: B, phase: "joined", since: "2026-03-01T11:30:00.000Z" },
  ...settled(A, 2, 2),
];
