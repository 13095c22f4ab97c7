import { poolSpecs, type Config } from "../../config.ts";
import { nodeName } from "../../rollout/generation.ts";
import type { PoolSpec } from "../../rollout/types.ts";
import { Chance } from "./chance.ts";
import { endChecks } from "./end.ts";
import { Engine, type Outcome } from "./engine.ts";
import { calm } from "./faults.ts";
import { Killer } from "./killer.ts";
import { configOf, imagesOf, scenarioOf, type Act, type Scenario, type Wish } from "./scenario.ts";
import { World } from "./world.ts";

export interface Result {
  seed: number;
  violations: string[];
  /** Empty unless the story was told. */
  story: string[];
}

/** Calm runs in which a pool must reach what is configured: a canary, a soak, a judged image, the rest. */
const patience = 8;

export interface SimulateOptions {
  told?: boolean;
  /** Makes the world lie, or lets a request do what a defective driver would ask for. */
  defect?: (world: World) => void;
}

/** Plays the story of a seed: runs with faults and kills, then calm ones that must end as configured. */
export async function simulate(seed: number, { told = false, defect }: SimulateOptions = {}): Promise<Result> {
  const chance = new Chance(seed, "scenario");
  const images = imagesOf(chance);
  const scenario = scenarioOf(chance, images);
  const world = new World({ seed, images, workloads: scenario.workloads, told });
  defect?.(world);
  const catalogue = new Map(images.map(({ name, rke2 }) => [name, rke2]));
  const play = new Play(world, chance, scenario, (config) => poolSpecs(config, catalogue));
  await world
    .run(() => play.all(images.at(-1)?.name ?? ""))
    .catch((error: unknown) => {
      world.story.wrong(
        `the simulation itself failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    });
  return { seed, violations: world.story.violations, story: world.story.lines };
}

class Play {
  private readonly world: World;
  private readonly chance: Chance;
  private readonly scenario: Scenario;
  private readonly specsOf: (config: Config) => PoolSpec[];
  private readonly engine: Engine;
  private wish: Wish;
  /** Until then something is still wrong with a machine. */
  private wellAt = 0;
  /** Whether the pool was ever complete: before, there is nobody to be served. */
  private established = false;
  private readonly blows: (() => void)[] = [];

  constructor(world: World, chance: Chance, scenario: Scenario, specsOf: (config: Config) => PoolSpec[]) {
    this.world = world;
    this.chance = chance;
    this.scenario = scenario;
    this.specsOf = specsOf;
    this.engine = new Engine(world, "demo");
    this.wish = scenario.before;
  }

  async all(goodImage: string): Promise<void> {
    const { world } = this;
    this.plant();
    await world.time.sleep(60_000);
    if (this.scenario.planted) await this.calmly("takes the planted pool over");
    for (const act of this.scenario.acts) await this.perform(act);
    world.faults.weather = calm;
    for (const takeBack of this.blows) takeBack();
    if (world.time.elapsed() < this.wellAt) await world.time.sleep(this.wellAt - world.time.elapsed());
    await this.settle(goodImage);
    // Longer than a join token or a lease lives.
    await world.time.sleep(600_000);
    await this.calmly("sees that all is well");
    await this.calmly("finds nothing to do");
    for (const urn of this.engine.ran) world.story.wrong(`a run without news ran ${urn}`);
    endChecks(world, this.engine.fleet);
  }

  private plant(): void {
    const { world, scenario } = this;
    const specs = this.specsOf(configOf(scenario, scenario.before));
    for (const [index, spec] of specs.entries()) {
      if (spec.role === "agent" && !scenario.planted) continue;
      const first = index === 0 ? 1000 : 1100;
      const nodes = Array.from({ length: spec.slots }, (_, slot) => world.plant(spec, slot, first + slot));
      world.remember(spec, nodes);
      for (const { name, vmid, slot } of nodes) this.engine.knows({ name, vmid, host: world.dc.hosts[slot % 2] ?? "" });
    }
    this.established = scenario.planted;
    this.promise();
  }

  private async perform(act: Act): Promise<void> {
    const { world } = this;
    this.wish = act.wish;
    this.promise();
    world.story.tell("operator", () => `wants ${JSON.stringify(act.wish)}`);
    world.faults.weather = act.weather;
    for (const { at, what } of act.blows) this.blows.push(world.time.after(at, () => this.strike(what)));
    const outcome = await this.up(new Killer(world, this.chance, act.kill));
    this.established ||= outcome === "done";
    await world.time.sleep(act.pause);
  }

  /** Runs until the pool is what is configured, however its images were judged. */
  private async settle(goodImage: string): Promise<void> {
    for (let run = 0; run < patience; run += 1) {
      await this.calmly("goes on");
      const plan = this.engine.fleet?.pools[0];
      if (plan?.kind === "steady" && plan.slots.every(({ creates, replaces }) => !creates && replaces.length === 0))
        return;
      const gaveUp = plan?.kind === "held" || (plan?.kind === "rollback" && plan.target?.id !== plan.wanted?.id);
      if (gaveUp || this.isExpected()) {
        this.wish = { ...this.wish, image: goodImage, rollout: this.wish.rollout + 1 };
        this.promise();
        this.world.story.tell("operator", () => `tries ${JSON.stringify(this.wish)}`);
      }
      if (plan?.kind === "canary" || plan?.kind === "soaking") await this.world.time.sleep(610_000);
    }
    this.world.story.wrong(
      `after ${patience} calm runs the pool is not what is configured: ${this.engine.fleet?.pools[0]?.words.join(" | ") ?? ""}`,
    );
  }

  private async calmly(what: string): Promise<void> {
    const outcome = await this.up(new Killer(this.world, this.chance));
    if (outcome === "done") this.established = true;
    else if (!this.isExpected()) this.world.story.wrong(`a calm run that ${what} ends ${outcome}: ${this.engine.why}`);
  }

  /** A run that makes nodes of an image that is no good has to fail. */
  private isExpected(): boolean {
    const slots = this.engine.fleet?.pools.flatMap((plan) => plan.slots) ?? [];
    return slots.some(({ generation }) => this.world.image(generation.spec.image)?.fault !== undefined);
  }

  private up(killer: Killer): Promise<Outcome> {
    return this.engine.up(configOf(this.scenario, this.wish), killer);
  }

  private promise(): void {
    for (const { name, slots, strategy } of this.specsOf(configOf(this.scenario, this.wish))) {
      const before = this.world.watcher.promises.get(name);
      this.world.watcher.promises.set(name, {
        fewest: this.established ? Math.min(slots, before?.fewest ?? slots) : 0,
        most: Math.max(slots, before?.most ?? slots),
        surge: strategy.kind === "blueGreen" ? Math.max(slots, before?.surge ?? 0) : strategy.surge,
        maxUnavailable: strategy.maxUnavailable,
      });
    }
  }

  private strike(what: Act["blows"][number]["what"]): void {
    const { world, chance } = this;
    const agents = [...world.dc.vms.values()].filter(({ name }) =>
      name.startsWith(nodeName("demo", "workers", 0, "").slice(0, -2)),
    );
    if (agents.length === 0) return;
    const vm = chance.pick(agents);
    const ms = chance.between(5000, 90_000);
    world.story.tell("fate", () => `${what}: ${vm.name}`);
    this.wellAt = Math.max(this.wellAt, world.time.elapsed() + ms + 60_000);
    if (what === "flap") world.cluster.nodes.flap(vm.name, ms);
    if (what === "hang") vm.guest?.hang(ms);
    if (what === "move") vm.host = vm.host === "pve1" ? "pve2" : "pve1";
    if (what === "power cut") {
      world.watcher.lost.add(vm.name);
      world.dc.powerCut(vm);
    }
  }
}
