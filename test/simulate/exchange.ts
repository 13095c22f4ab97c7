import { poolSpecs } from "../../config.ts";
import { Chance } from "./chance.ts";
import type { Vm } from "./data-centre.ts";
import { Engine, type Outcome } from "./engine.ts";
import { Killer } from "./killer.ts";
import { configOf, rke2, type Scenario, type Wish } from "./scenario.ts";
import { World } from "./world.ts";

const image = (version: number, fault?: "no-agent") => ({ name: `ubuntu-24.04-rke2-v1.${version}.0`, rke2, fault });
const images = [image(0), image(1, "no-agent"), image(2)];
const wish = (version: number): Wish => ({ image: images[version]?.name ?? "", slots: 2, rollout: 0 });

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
  const strategy = { kind: "rolling", maxUnavailable: 1, soakSeconds: 0 };
  const scenario: Scenario = { servers: 1, strategy, before: wish(0), planted: true, workloads: [], acts: [] };
  const world = new World({ seed: 1, images, workloads: [], told: false });
  const engine = new Engine(world, "demo");
  const up = (version: number) =>
    engine.up(configOf(scenario, wish(version)), new Killer(world, new Chance(1, "killer")));
  const played = await world.run(async () => {
    plant(world, engine, scenario);
    await world.time.sleep(60_000);
    await up(0);
    await up(1);
    const clone = cloneAhead(world);
    if (when === "before the run") return { stranger: exchange(world, clone), outcome: await up(2) };
    const run = up(2);
    while (!engine.ran.includes("demo-workers-0-handover")) await world.time.sleep(500);
    return { stranger: exchange(world, clone), outcome: await run };
  });
  const { vmid } = played.stranger;
  const untouched = world.dc.vms.get(vmid) === played.stranger && played.stranger.revision === 1;
  return { outcome: played.outcome, untouched, violations: world.story.violations };
}

function plant(world: World, engine: Engine, scenario: Scenario): void {
  const catalogue = new Map(images.map(({ name }) => [name, rke2]));
  for (const spec of poolSpecs(configOf(scenario, scenario.before), catalogue)) {
    const first = spec.role === "server" ? 1000 : 1100;
    const nodes = Array.from({ length: spec.slots }, (_, slot) => world.plant(spec, slot, first + slot));
    world.remember(spec, nodes);
    for (const { name, vmid, slot } of nodes) engine.knows({ name, vmid, host: world.dc.hosts[slot % 2] ?? "" });
  }
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
