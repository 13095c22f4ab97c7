import type { FaultKind } from "./fault-kinds.ts";

/** Counts of one kind of request. */
export interface Row {
  /** How often it was made while faults were possible. */
  made: number;
  /** How often each kind of fault struck it; 0 for faults that could have. */
  struck: Record<string, number>;
  /** Some seeds in which it was made. */
  seeds: number[];
}

/** Counts as plain data, since workers send it. */
export interface Counted {
  requests: Record<string, Row>;
  /** How often each kind of event happened to a machine, a host, a cluster or a process. */
  events: Record<string, number>;
}

/** A cell that is possible and was never struck. */
export interface Gap {
  request: string;
  fault: string;
  seeds: readonly number[];
}

/** Number of seeds kept per row: in these a fault that never struck is requested by name. */
const keptSeeds = 6;

/**
 * Counts how often each kind of fault struck each kind of request. The requests that were made decide which cells
 * exist.
 */
export class Coverage {
  readonly counted: Counted = { requests: {}, events: {} };
  private readonly seed: number;

  constructor(seed: number, events: readonly string[] = []) {
    this.seed = seed;
    for (const event of events) this.counted.events[event] = 0;
  }

  /** Counts a request that any of these faults could have struck. */
  made(request: string, kinds: readonly FaultKind[]): void {
    const row = (this.counted.requests[request] ??= {
      made: 0,
      struck: Object.fromEntries(kinds.map(({ name }) => [name, 0])),
      seeds: [this.seed],
    });
    row.made += 1;
  }

  struck(request: string, fault: string): void {
    const row = this.counted.requests[request];
    if (row) row.struck[fault] = (row.struck[fault] ?? 0) + 1;
  }

  event(name: string): void {
    this.counted.events[name] = (this.counted.events[name] ?? 0) + 1;
  }
}

/** Adds the counts of another run. */
export function add(all: Counted, one: Counted): void {
  for (const [request, { made, struck, seeds }] of Object.entries(one.requests)) {
    const row = (all.requests[request] ??= { made: 0, struck: {}, seeds: [] });
    row.made += made;
    for (const [fault, count] of Object.entries(struck)) row.struck[fault] = (row.struck[fault] ?? 0) + count;
    row.seeds = [...new Set([...row.seeds, ...seeds])].toSorted((a, b) => a - b).slice(0, keptSeeds);
  }
  for (const [event, count] of Object.entries(one.events)) all.events[event] = (all.events[event] ?? 0) + count;
}

export function cellsOf({ requests, events }: Counted): number {
  return (
    Object.values(requests).reduce((sum, { struck }) => sum + Object.keys(struck).length, 0) +
    Object.keys(events).length
  );
}

/** Requests that a kind of fault could have struck and never did. */
export function gapsOf({ requests }: Counted): Gap[] {
  return Object.entries(requests).flatMap(([request, { struck, seeds }]) =>
    Object.entries(struck).flatMap(([fault, count]) => (count === 0 ? [{ request, fault, seeds }] : [])),
  );
}

/**
 * Names of all cells that are possible and were never struck. A request that was made in less than this number of seeds
 * is too rare: it may only be made where some other request was struck, and a strike by name takes that one's place.
 */
export function emptyOf(counted: Counted, fewestSeeds: number): string[] {
  const never = Object.entries(counted.events).flatMap(([event, count]) => (count === 0 ? [event] : []));
  const gaps = gapsOf(counted).filter(({ seeds }) => seeds.length >= fewestSeeds);
  return [...gaps.map(({ request, fault }) => `${request}: ${fault}`), ...never];
}

/** A line for each kind of request, and one for all events. */
export function tableOf({ requests, events }: Counted): string[] {
  const rows = Object.entries(requests).toSorted(([a], [b]) => a.localeCompare(b));
  const width = Math.max(0, ...rows.map(([request]) => request.length));
  const counts = (of: Record<string, number>): string =>
    Object.entries(of)
      .map(([name, count]) => `${name} ${count}`)
      .join(", ");
  return [
    ...rows.map(
      ([request, { made, struck }]) => `${request.padEnd(width)} ${String(made).padStart(8)} made: ${counts(struck)}`,
    ),
    `events: ${counts(events)}`,
  ];
}
