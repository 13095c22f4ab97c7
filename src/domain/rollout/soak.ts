import { ownedBy, stateOf, type Decision, type Situation } from "./situation.ts";
import { isHealthy, type Member } from "./slot-state.ts";

/* When a soak of several runs is over: it counts from when the last of its nodes came, or came back. */

export interface Soak {
  over: boolean;
  /** When its time ends or ended. */
  until?: Date;
  /** A node of it has restarted, and nobody has recorded it: a run has to. */
  isCut?: boolean;
  why: string[];
}

/**
 * The state of the soak. When its time is over, its nodes must also be healthy. The time counts from the last node, and
 * anew from when one of them has restarted, or was not Ready: it was off, or was not heard.
 */
export function soakOf(situation: Situation): Soak {
  const { pool, wanted, now } = situation;
  const known = stateOf(situation, wanted.id);
  if (known?.state !== "soaking") return { over: false, why: [] };
  const nodes = ownedBy(situation, wanted.id).flatMap((slot) => slot.owner ?? []);
  if (nodes.length === 0 && pool.slots > 0) return { over: false, why: [`no node of ${wanted.id} soaks`] };
  const begun = latestOf([known.since, ...nodes.flatMap((node) => node.record?.since ?? [])]);
  const restarted = nodes.filter(({ record, node }) => record?.boot && node?.boot && record.boot.id !== node.boot);
  const isCut = restarted.length > 0;
  const backSince = ({ record, node }: Member) => [node?.readySince ?? [], record?.boot?.since ?? []].flat();
  const hasFallen = (one: Member) => restarted.includes(one) || backSince(one).some((time) => Date.parse(time) > begun);
  const fallen = nodes.filter(hasFallen);
  const start = latestOf([new Date(begun), ...fallen.flatMap(backSince), ...(isCut ? [now] : [])]);
  const end = new Date(start + pool.strategy.soakSeconds * 1000);
  if (!(end <= now)) return { over: false, until: end, isCut, why: [soaksUntil(wanted.id, end, fallen)] };
  const unhealthy = nodes.filter((node) => !isHealthy(node)).map((node) => node.name);
  if (unhealthy.length === 0) return { over: true, why: [`the soak of ${wanted.id} ended at ${isoOf(end)}`] };
  return {
    over: false,
    until: end,
    why: [`the soak of ${wanted.id} ended at ${isoOf(end)}, but not healthy: ${unhealthy.join(", ")}`],
  };
}

export function waitFor({ until, isCut, why }: Soak): Pick<Decision, "soaksUntil" | "watchesAnew" | "why"> {
  const anew = isCut === true ? { watchesAnew: true as const, why } : { why };
  return until === undefined || Number.isNaN(until.getTime()) ? anew : { soaksUntil: until, ...anew };
}

function soaksUntil(id: string, end: Date, fallen: readonly Member[]): string {
  const names = fallen.map(({ name }) => name).join(", ");
  if (names === "") return `${id} soaks until ${isoOf(end)}; a run after that goes on`;
  return `${id} soaks anew until ${isoOf(end)}, because restarted or not Ready meanwhile: ${names}; a run after that goes on`;
}

/** In milliseconds; NaN: one of them is not readable. */
function latestOf(times: readonly (string | Date)[]): number {
  return Math.max(...times.map((time) => new Date(time).getTime()));
}

function isoOf(time: Date): string {
  return Number.isNaN(time.getTime()) ? "an unknown time" : time.toISOString();
}
