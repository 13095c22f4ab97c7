import type { Vm } from "./data-centre.ts";
import type { Outcome } from "./engine.ts";
import { Stage, stageImages } from "./stage.ts";
import type { World } from "./world.ts";

export interface Exchange {
  /** Outcome of the run that no longer wants the exchanged clone. */
  outcome: Outcome;
  /** Whether the foreign VM is unchanged. */
  untouched: boolean;
  violations: string[];
}

/**
 * Plays a roll that fails in its first slot. The clone of the second slot, made ahead and never started, is deleted
 * manually, and a foreign VM with our name and tags takes its VMID: before the next run begins, or during it. That run
 * wants another generation, so the engine destroys the VM with that VMID at its end unless a step refuses.
 */
export async function exchangedClone(when: "before the run" | "during the run"): Promise<Exchange> {
  const stage = new Stage(stageImages("no-agent"), { servers: 1, agents: 2 });
  const { world, engine } = stage;
  const played = await stage.play(async () => {
    await stage.up(stage.agentsOf(1));
    const clone = cloneAhead(world);
    if (when === "before the run")
      return { stranger: exchange(world, clone), outcome: await stage.up(stage.agentsOf(2)) };
    const run = stage.up(stage.agentsOf(2));
    await stage.until(() => engine.ran.includes("demo-workers-0-handover"));
    return { stranger: exchange(world, clone), outcome: await run };
  });
  const { vmid } = played.stranger;
  const untouched = world.dc.vms.get(vmid) === played.stranger && played.stranger.revision === 1;
  return { outcome: played.outcome, untouched, violations: world.story.violations };
}

/** The VM of the second slot, cloned and never started. */
function cloneAhead({ dc }: World): Vm {
  const found = [...dc.vms.values()].find(({ name, running }) => name.startsWith("demo-workers-1-") && !running);
  if (found === undefined) throw new Error("the roll that failed has cloned nothing ahead");
  return found;
}

function exchange({ dc }: World, { vmid, name, host, pool, tags }: Vm): Vm {
  dc.vms.delete(vmid);
  return dc.add({ owner: "stranger", vmid, name, host, pool, tags, uuid: dc.uuid() });
}
