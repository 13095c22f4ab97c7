import type { PoolSpec } from "../../src/domain/model/types.ts";
import type { Engine } from "./engine.ts";
import type { World } from "./world.ts";

/**
 * Plants pools as an earlier, successful run left them: in the data centre, the cluster, the record and the engine's
 * state.
 * @param adopted whether the agents are adopted nodes, which are in no state of the engine
 */
export function plantPools(world: World, engine: Engine, specs: readonly PoolSpec[], adopted = false): void {
  for (const spec of specs) {
    const { first } = spec.range;
    const slots = Array.from({ length: spec.slots }, (_, slot) => slot);
    if (adopted && spec.role === "agent") {
      world.remember(
        spec,
        slots.map((slot) => world.plant(spec, slot, first + slot, `kube-${slot}`)),
        false,
      );
      continue;
    }
    const nodes = slots.map((slot) => world.plant(spec, slot, first + slot));
    world.remember(spec, nodes);
    for (const { name, vmid, slot } of nodes) engine.state.knows({ name, vmid, host: world.dc.hosts[slot % 2] ?? "" });
  }
}
