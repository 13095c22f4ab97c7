import type { Vm } from "./data-centre.ts";
import type { Outcome } from "./engine.ts";
import { Stage, stageImages } from "./stage.ts";
import type { World } from "./world.ts";

export interface Exchange {
  /** How the run ended that wants the exchanged clone away. */
  outcome: Outcome;
  /** Whether the stranger is there as it was put there. */
  untouched: boolean;
  violations: string[];
}

/**
 * A roll fails in its first slot. The clone of its second, made ahead and never started, is deleted by hand, and a stranger's
 * VM with our name and our tags takes its number: before the next run begins, or while it is under way. That run wants
 * another generation, so the engine destroys the VM of that number at its end unless somebody objects.
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

/** The VM of the second slot that was cloned and never started. */
function cloneAhead({ dc }: World): Vm {
  const found = [...dc.vms.values()].find(({ name, running }) => name.startsWith("demo-workers-1-") && !running);
  if (found === undefined) throw new Error("the roll that failed has cloned nothing ahead");
  return found;
}

function exchange({ dc }: World, { vmid, name, host, pool, tags }: Vm): Vm {
  dc.vms.delete(vmid);
  return dc.add({ owner: "stranger", vmid, name, host, pool, tags, uuid: dc.uuid() });
}
