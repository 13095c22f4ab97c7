import type { local } from "@pulumi/command";
import { ComponentResource, type Resource } from "@pulumi/pulumi";
import { isAdopted } from "../rollout/generation.ts";
import type { Site, Timeouts } from "../rollout/step-environment.ts";
import type { KeptVm } from "../rollout/types.ts";
import { claimTimeouts, claimVerbs } from "./slot.ts";
import { step } from "./step.ts";
import { keptVm } from "./vm.ts";

export interface KeptArgs {
  /** Name of the pool's component. */
  pool: string;
  /** Slots that are declared; those of others are declared here. */
  slots: ReadonlyMap<number, Resource>;
  kept: readonly KeptVm[];
  timeouts: Timeouts;
}

/**
 * The VM and the claim of nodes that leave or have left with data on their disks alone. Declared exactly as the state has them,
 * under their slot as before, so that the engine does nothing to them; it deletes both when they are declared no more. Their
 * join is not: its delete retires the node if that has no slot any more.
 * @returns the claims: the guard of the cluster stands before them too
 */
export function keepVms(parent: Resource, { pool, slots, kept, timeouts }: KeptArgs): local.Command[] {
  const places = new Map(slots);
  // The VM of an adopted node is in no state: nobody destroys it.
  return kept
    .filter((one) => !isAdopted(one))
    .map((one) => {
      const place =
        places.get(one.slot) ?? new ComponentResource("evergreen:index:Slot", `${pool}-${one.slot}`, {}, { parent });
      places.set(one.slot, place);
      const vm = keptVm(one, { parent: place });
      return step(
        `${one.name}-claim`,
        claimVerbs,
        {},
        {
          parent: place,
          dependsOn: [vm],
          customTimeouts: claimTimeouts(timeouts),
          ignoreChanges: ["environment"],
        },
      );
    });
}

/** The same for a pool that left the configuration and of which nothing else is declared. */
export function keepPool(pool: string, kept: readonly KeptVm[], { timeouts }: Site): local.Command[] {
  if (kept.length === 0) return [];
  const parent = new ComponentResource("evergreen:index:NodePool", pool);
  return keepVms(parent, { pool, slots: new Map(), kept, timeouts });
}
