import { Chance } from "./chance.ts";
import type { Engine } from "./engine.ts";
import { Killer, type Kill } from "./killer.ts";
import { helps } from "./operator.ts";
import type { World } from "./world.ts";

/** Destroys in which everything has to be gone: one that is broken off, and what an operator repeats after it. */
const patience = 4;

const kills: Kill["what"][] = ["tree", "engine", "step", "plugin", "interrupt"];

/**
 * Ends a story that allows it with `pulumi destroy`, with or without its guard, which may be killed and is repeated: every VM
 * that the engine's state has must be gone then. By chance, which draws nothing of what happens before.
 */
export async function endWithDestroy(world: World, engine: Engine): Promise<void> {
  const chance = new Chance(world.seed, "destroy");
  if (chance.happens(0.4)) return;
  const known = [...engine.state.resources.values()].flatMap(({ vm }) => vm ?? []);
  if (chance.happens(0.5)) {
    engine.state.guard = undefined;
    world.coverage.event("a destroy without its guard");
  } else world.coverage.event("a destroy");
  const kill: Kill | undefined = chance.happens(0.8)
    ? {
        request: chance.between(1, 60 * known.length),
        side: chance.pick(["before", "after"]),
        what: chance.pick(kills),
      }
    : undefined;
  for (let run = 0; run < patience; run += 1) {
    const outcome = await engine.destroy(new Killer(world, chance, run === 0 ? kill : undefined));
    // Steps whose engine is gone end, and so do the tasks that they have begun.
    await world.time.sleep(120_000);
    while (world.dc.isBusy()) await world.time.sleep(500);
    if (outcome === "done") break;
    const isCalm = run > 0 || kill === undefined;
    if (isCalm && !(await helps(world, engine.why))) world.story.wrong(`a calm destroy ends ${outcome}: ${engine.why}`);
  }
  for (const { name, vmid } of known)
    if (world.dc.vms.get(vmid)?.name === name) world.story.wrong(`${name} is there after ${patience} destroys`);
}
