import type { PoolSpec } from "../../src/domain/model/types.ts";
import type { Engine } from "./engine.ts";
import type { World } from "./world.ts";

/**
 * Plants pools as an earlier, successful run left them: in the data centre, the cluster, the record and the engine's
 * state.
 */
export function plantPools(world: World, engine: Engine, specs: readonly PoolSpec[]): void {
  for (const spec of specs) {
    const first = spec.role === "server" ? 1000 : 1100;
    const nodes = Array.from({ length: spec.slots }, (_, slot) => world.plant(spec, slot, first + slot));
    world.remember(spec, nodes);
    for (const { name, vmid, slot } of nodes) engine.knows({ name, vmid, host: world.dc.hosts[slot % 2] ?? "" });
  }
}
