import { canonical } from "../model/canonical.ts";
import type { Situation } from "./situation.ts";
import { isAdopted } from "../model/generation.ts";
import { keptWords } from "../drain/local-data.ts";
import { downFirst, openFirst, order, roomOf } from "./order.ts";
import { passesTwoVoters } from "./servers.ts";
import { unreachableWords } from "./unreachable.ts";
import type { KeptVm, NodeSpec, PoolPlan, PoolRecord, SlotPlan } from "../model/types.ts";

type Draft = Omit<PoolPlan, "words" | "digest">;

/** The plan for a reader: a headline, the reasons, then a line for each node that comes or goes. */
export function renderPlan(plan: Draft, situation: Situation, why: readonly string[]): string[] {
  return [
    headline(plan, situation),
    ...why.map((reason) => `  ${reason}`),
    ...downWords(plan),
    ...openWords(plan),
    ...voterWords(plan, situation),
    ...comings(plan, situation),
    ...stays(plan),
    ...plan.unreplaced.map((name) => `  ${name} was adopted and keeps its slot in this run`),
    ...plan.leaving.map((name) => `  ${name} leaves: ${whyItLeaves(plan, name, situation)}`),
    ...crowdWords(plan),
    ...unreachableWords(plan),
    ...plan.unhealthy.map((name) => `  ${name} does not serve, or nobody remembers it: its join brings it back`),
    ...reloadWords(plan),
    ...keptLines(plan, situation.record),
  ];
}

/** The registries themselves are secrets: what of them has changed is not said. */
function reloadWords({ reloads = [], role }: Draft): string[] {
  if (reloads.length === 0) return [];
  const them = role === "server" ? "servers" : "nodes";
  return [
    `  ${reloads.join(", ")}: the registries change in place, first of all: RKE2 restarts, pods stay, one of the ${them} after the other`,
  ];
}

export function renderRemoval(
  plan: Pick<Draft, "pool" | "slots" | "leaving" | "kept" | "unreachable">,
  record: PoolRecord | undefined,
): string[] {
  return [
    `remove ${plan.pool}: it left the configuration, ${plan.leaving.length} nodes leave`,
    ...plan.leaving.map((name) => `  ${name} leaves: drained, taken out of the cluster, destroyed`),
    ...unreachableWords(plan),
    ...keptLines(plan, record),
  ];
}

/**
 * Lines for old VMs that are kept for their data, and for those that are destroyed now because their retention is over.
 */
function keptLines(
  { slots, leaving, kept }: Pick<Draft, "slots" | "leaving" | "kept">,
  record: PoolRecord | undefined,
): string[] {
  const departing = new Set([...leaving, ...slots.flatMap(({ replaces }) => replaces)]);
  const over =
    record?.nodes.filter(({ name, phase, keeps }) => phase === "retired" && keeps && departing.has(name)) ?? [];
  return [
    ...kept.map(keptLine),
    ...over.map(
      ({ name, vmid, keeps = [] }) =>
        `  ${name} was kept for its data, and its time is over: VM ${vmid} is destroyed at the end of this run, with ${keptWords(keeps)}`,
    ),
  ];
}

function keptLine({ name, vmid, until, volumes }: KeptVm): string {
  return `  ${name} has left; its VM ${vmid} is kept, off, for its data until ${until ?? "an unknown time"}: ${keptWords(volumes)}`;
}

function headline(plan: Draft, situation: Situation): string {
  const { pool, slots, unreplaced, wanted } = plan;
  const all = slots.length + unreplaced.length;
  const id = wanted?.id ?? "";
  switch (plan.kind) {
    case "steady":
      return `${pool}: ${unreplaced.length > 0 ? "adopted" : `${all} nodes of ${id}`}${isQuiet(plan) ? ", nothing to do" : ""}`;
    case "create":
      return `create ${pool}: ${id} (image ${situation.pool.node.image}), ${all} slots, ${width(plan)}`;
    case "scale":
      return `scale ${pool}: ${all} slots of ${id}, ${plan.leaving.length} nodes leave, ${count(slots)} come`;
    case "soaking":
      return `${pool}: ${soaked(plan)} of ${all} slots are on ${id} and soak${isQuiet(plan) ? ", nothing to do" : ""}`;
    case "held":
      return `held ${pool}: slots stay as they are${plan.target ? ` on ${plan.target.id}` : ""}, ${id} is wanted`;
    case "remove":
      return `remove ${pool}`;
    case "roll":
    case "canary":
    case "rollback":
      return `${plan.kind} ${pool}: ${movement(plan, situation)}, ${all} slots, ${pace(plan)}`;
  }
}

/** Whether a run on this plan changes nothing: no node comes or leaves, and none has to be repaired. */
export function isQuiet(plan: Draft): boolean {
  return (
    !plan.slots.some(changes) && plan.leaving.length === 0 && plan.unhealthy.length === 0 && plan.reloads === undefined
  );
}

function width(plan: Draft): string {
  return plan.role === "server" ? "one server after the other" : "all at once";
}

function count(slots: readonly SlotPlan[]): number {
  return slots.filter((slot) => slot.creates).length;
}

function soaked(plan: Draft): number {
  return plan.slots.filter((slot) => slot.generation.id === plan.wanted?.id).length;
}

function pace({ slots, strategy }: Draft): string {
  const comes = strategy.kind === "rolling" ? `surge ${strategy.surge}` : "all new nodes first";
  // Each node that goes out has a running successor, so no more nodes go out than may come.
  return `${comes}, at most ${Math.min(roomOf(slots, strategy), Math.max(1, strategy.surge))} out at once`;
}

/** A line that says why a roll does not follow the order of the slot numbers. */
function downWords(plan: Draft): string[] {
  const down = downFirst(plan);
  if (down.length === 0 || !plan.slots.some(({ replaces }) => replaces.length > 0)) return [];
  const one = down.length === 1;
  return [
    `  nobody serves in slot${one ? "" : "s"} ${ranges(down)}: ${one ? "it comes" : "they come"} first and count${one ? "s" : ""} as out until then`,
  ];
}

/** A line for slots that an earlier run has emptied, and whose pods another handover must not outrun. */
function openWords(plan: Draft): string[] {
  const open = openFirst(plan);
  if (open.length === 0) return [];
  const one = open.length === 1;
  return [
    `  an earlier run has emptied the old node of slot${one ? "" : "s"} ${ranges(open)}: what it evicted has to run elsewhere before another node of the pool is drained`,
  ];
}

/** A line for the only time in which etcd survives the loss of neither of its voters. */
function voterWords({ role, slots }: Draft, { record }: Situation): string[] {
  if (role !== "server" || !passesTwoVoters(slots, record?.nodes ?? [])) return [];
  return ["  etcd has two voters for a while, of which neither may fail: a snapshot is made and proved before that"];
}

/** The engine deletes at the end of a run: until then nodes that leave without a successor run beside the new ones. */
function crowdWords({ role, slots, unreplaced, leaving, strategy }: Draft): string[] {
  const come = slots.filter(({ creates, replaces }) => creates && replaces.length > 0).length;
  if (role === "server" || leaving.length === 0 || come === 0) return [];
  const more = strategy.kind === "rolling" ? Math.min(strategy.surge, come) : come;
  const all = slots.length + unreplaced.length + leaving.length + more;
  return [`  who leaves goes at the end of the run: up to ${all} VMs of the pool run until then`];
}

/** For example `a1b2c3d4 -> e5f6a7b8 (image ubuntu-24.04-rke2-v1.0.0 -> v1.1.0)`. */
function movement(plan: Draft, situation: Situation): string {
  const target = plan.target ?? plan.wanted;
  if (target === undefined) return "";
  const from = [...new Set(situation.slots.flatMap(({ owner }) => (owner ? originOf(owner) : [])))].filter(
    (id) => id !== target.id,
  );
  const [only] = from;
  const before = situation.record?.generations.find((generation) => generation.id === only);
  const changes = from.length === 1 && before ? ` (${changesBetween(before.spec, target.spec).join(", ")})` : "";
  return `${from.join(" and ")} -> ${target.id}${changes}`;
}

function originOf(owner: { name: string; generation: string }): string {
  return isAdopted(owner) ? "adopted" : owner.generation;
}

function comings(plan: Draft, situation: Situation): string[] {
  const members = situation.slots.flatMap((slot) => slot.members);
  const adopted = new Set(members.filter(isAdopted).map((member) => member.name));
  const orders = new Map(order(plan).map((one) => [one.slot, one]));
  return plan.slots.filter(changes).map((slot) => {
    if (isHandedOver(slot, situation)) {
      return `  slot ${slot.slot}: belongs to ${slot.name}; ${slot.replaces.join(" and ")} is off and is destroyed at the end`;
    }
    const place = [`VMID ${slot.vmid}`, slot.address ?? [], slot.address6 ?? []].flat().join(", ");
    const comes = slot.creates ? `${slot.name} comes (${place})` : `${slot.name} is there (${place})`;
    const going = slot.replaces.map((name) => (adopted.has(name) ? `${name} (adopted; its VM stays, off)` : name));
    const goes = going.length > 0 ? `, then ${going.join(" and ")} leaves` : "";
    const { handover = [], join = [], joined = [], gate = false } = orders.get(slot.slot) ?? {};
    const waits = [
      ...join.map((before) => `joins after slot ${before}`),
      ...joined.map((before) => `joins after the new node of slot ${before}`),
      ...(gate ? ["handed over when all new nodes have joined"] : []),
      ...handover.filter((before) => !join.includes(before)).map((before) => `handed over after slot ${before}`),
    ];
    return `  slot ${slot.slot}: ${comes}${goes}${waits.length > 0 ? `; ${waits.join(", ")}` : ""}`;
  });
}

/** Whether an earlier run has handed the slot over: the old nodes are off, and the engine has yet to delete them. */
function isHandedOver(slot: SlotPlan, situation: Situation): boolean {
  const state = situation.slots.find((one) => one.slot === slot.slot);
  const retired = state?.members.filter((member) => member.record?.phase === "retired" && member.vm?.running !== true);
  return state?.owner?.name === slot.name && slot.replaces.length === retired?.length;
}

function changes(slot: SlotPlan): boolean {
  return slot.creates || slot.replaces.length > 0;
}

/** Slots that do not change, as ranges, since a pool may have hundreds. No line when nothing moves at all. */
function stays(plan: Draft): string[] {
  const still = plan.slots.filter((slot) => !changes(slot));
  if (still.length === plan.slots.length && plan.kind !== "held" && plan.kind !== "soaking") return [];
  const byGeneration = Map.groupBy(still, (slot) => slot.generation.id);
  return [...byGeneration].map(
    ([id, slots]) =>
      `  ${slots.length > 1 ? "slots" : "slot"} ${ranges(slots.map((slot) => slot.slot))}: ${slots.length > 1 ? "stay" : "stays"} on ${id}`,
  );
}

/** Numbers as ranges: `0-2, 5`. */
export function ranges(numbers: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const number of numbers.toSorted((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last?.[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ");
}

function whyItLeaves(plan: Draft, name: string, situation: Situation): string {
  const half = situation.slots.some((slot) => slot.members.some((member) => member.name === name));
  return half
    ? "it was made by a run that did not finish, and no slot was handed to it"
    : `${plan.slots.length} slots are wanted`;
}

/** The differences between two specs, in the order in which an operator asks for them. */
export function changesBetween(before: NodeSpec, after: NodeSpec): string[] {
  const keys = [
    ...(["image", "rke2", "cores", "memoryMiB", "diskGiB"] as const),
    ...(["hardware", "labels", "annotations", "taints", "startupTaints", "config", "rollout"] as const),
  ];
  return keys
    .filter((key) => canonical(before[key] ?? null) !== canonical(after[key] ?? null))
    .map((key) => `${key} ${shown(before[key])} -> ${shortened(shown(before[key]), shown(after[key]))}`);
}

function shown(value: unknown): string {
  if (value === undefined) return "none";
  return typeof value === "string" ? value : canonical(value);
}

/**
 * A shortened second value: two versions of one image differ only after the last `-v`, so the common part is not
 * repeated.
 */
function shortened(before: string, after: string): string {
  const at = after.lastIndexOf("-v") + 1;
  return at > 0 && before.startsWith(after.slice(0, at)) ? after.slice(at) : after;
}
