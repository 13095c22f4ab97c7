import type { Problem } from "../runtime/errors.ts";

/** A pool of agents, or the servers: the owner of slots that an existing node can be adopted into. */
export interface AdoptingPool {
  path: string;
  slots: number;
  adopt: { slot: number; vmid: number; uuid: string; node: string }[];
}

/** Checks that every entry has a slot of its own, and that no VM is adopted twice. */
export function adoptionProblems(owners: readonly AdoptingPool[]): Problem[] {
  const entries = owners.flatMap(({ path, slots, adopt }) =>
    adopt.map((entry, i) => ({ ...entry, path, slots, where: `${path}.adopt[${i}]` })),
  );
  const outside = entries.filter(({ slot, slots }) => slot >= slots);
  return [
    ...outside.map(({ slot, slots, where }) => ({
      what: `slot ${slot} is not one of the ${slots} slots, and a node is adopted into it`,
      where: `${where}.slot`,
      todo: slots === 0 ? "give the pool slots" : `use a slot from 0 to ${slots - 1}, or give the pool more slots`,
    })),
    ...twice(entries, "slot", (entry) => `${entry.path} ${entry.slot}`),
    ...twice(entries, "vmid", (entry) => entry.vmid),
    ...twice(entries, "uuid", (entry) => entry.uuid),
    ...twice(entries, "node", (entry) => entry.node),
  ];
}

function twice<T extends { where: string }>(
  entries: readonly T[],
  key: keyof T & string,
  of: (entry: T) => unknown,
): Problem[] {
  return [...Map.groupBy(entries, of).values()].flatMap(([first, ...others]) =>
    others.map((other) => ({
      what: `the ${key} ${String(other[key])} is adopted twice`,
      where: `${other.where}.${key}`,
      todo: `correct it, or ${first?.where ?? ""}: a slot has one predecessor, and a VM one slot`,
    })),
  );
}
