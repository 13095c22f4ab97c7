import type { local } from "@pulumi/command";
import { ComponentResource, type Resource } from "@pulumi/pulumi";
import { isAdopted } from "../src/domain/model/generation.ts";
import { environmentOf, type Site } from "../src/domain/model/step-environment.ts";
import type { KeptVm, PoolPlan } from "../src/domain/model/types.ts";
import { claimTimeouts } from "./slot.ts";
import { step, type StepEnvironment } from "./step.ts";
import { keptVm } from "./vm.ts";

export interface KeptArgs {
  cluster: string;
  site: Site;
  plan: Pick<PoolPlan, "pool" | "role" | "strategy" | "kept">;
  /** Of agents the control plane: a destroy asks it about them, and takes it away after them. */
  after: Resource[];
}

/**
 * The VM and the claim of nodes that leave or have left with data on their disks alone. Declared exactly as the state has them,
 * under their slot as before, so that the engine does nothing to them; it deletes both when they are declared no more. Their
 * join is not: its delete retires the node if that has no slot any more.
 * @param pool name of the pool's component
 * @param slots that are declared; those of others are declared here
 * @returns the claims: the guard of the cluster stands before them too
 */
export function keepVms(
  parent: Resource,
  pool: string,
  slots: ReadonlyMap<number, Resource>,
  args: KeptArgs,
): local.Command[] {
  const places = new Map(slots);
  // The VM of an adopted node is in no state: nobody destroys it.
  const kept = args.plan.kept.filter((one) => !isAdopted(one));
  return kept.map((one) => {
    const place =
      places.get(one.slot) ?? new ComponentResource("evergreen:index:Slot", `${pool}-${one.slot}`, {}, { parent });
    places.set(one.slot, place);
    const vm = keptVm(one, { parent: place });
    // A node of a time without claims gets one that claims nothing.
    return step(
      `${one.name}-claim`,
      { create: "retain", update: "retain", delete: "release" },
      environment(one, args),
      {
        parent: place,
        dependsOn: [vm, ...args.after],
        customTimeouts: claimTimeouts(args.site.timeouts),
        ignoreChanges: ["create", "update", "environment"],
      },
    );
  });
}

function environment(
  { slot, name, vmid, generation: id, spec }: KeptVm,
  { cluster, site, plan }: KeptArgs,
): StepEnvironment {
  if (spec === undefined) return {};
  const planned = { slot, name, vmid, generation: { id, spec }, creates: false, replaces: [] };
  return environmentOf({ cluster, site, pool: plan.pool, role: plan.role, strategy: plan.strategy, slot: planned });
}

/** The same for a pool that left the configuration and of which nothing else is declared. */
export function keepPool(pool: string, args: KeptArgs): local.Command[] {
  if (args.plan.kept.length === 0) return [];
  return keepVms(new ComponentResource("evergreen:index:NodePool", pool), pool, new Map(), args);
}
