import { poolSpecs, type Config } from "../../src/config/config.ts";
import { renderClusterPlan } from "../../src/program/cluster-plan.ts";
import type { PoolPlan, PoolSpec } from "../../src/domain/model/types.ts";
import { Chance } from "./chance.ts";
import type { Counted } from "./coverage.ts";
import { editsOf } from "./edits.ts";
import { endChecks, registriesCheck } from "./end.ts";
import { Engine, type Outcome } from "./engine.ts";
import { calm, type Strike } from "./faults.ts";
import { Killer } from "./killer.ts";
import { LocalDisks, localVolumesOf } from "./local-volumes.ts";
import {
  configOf,
  creationOf,
  imagesOf,
  scenarioOf,
  withRegistries,
  type Act,
  type Blow,
  type Scenario,
  type Wish,
} from "./scenario.ts";
import type { Image } from "./guest.ts";
import type { Stored } from "./objects.ts";
import { anew, helps } from "./operator.ts";
import { shutSiteDown, withSiteOff } from "./site-off.ts";
import { maySpare } from "./spare.ts";
import { plantPools } from "./plant.ts";
import { Storms } from "./weather/storms.ts";
import { World } from "./world.ts";

export interface Result {
  seed: number;
  violations: string[];
  /** Empty unless `told` is set. */
  story: string[];
  /** Which requests were struck by which faults. */
  coverage: Counted;
}

/** Fault-free runs in which a pool must reach its configuration: a canary, a soak, a judged image, the rest. */
const patience = 8;

export interface SimulateOptions {
  told?: boolean;
  /** Makes the world give false answers, or changes requests to what a defective driver would ask for. */
  defect?: (world: World) => void;
  /** Changes the scenario of the seed to what a test is about. */
  shape?: (scenario: Scenario) => Scenario;
  /** A request of this kind fails in this way, the first time that it is made. */
  strike?: Strike;
  /** What kind of story it is. @default the seed decides */
  story?: StoryKind | undefined;
  /** The name of an environment fault: it occurs in every act, and no other does. */
  weather?: string;
}

/**
 * Kinds of stories. `update`: one pool of agents, or the servers, or both are changed. `creation`: there is nothing in
 * the beginning, and a run creates the cluster. `edits`: the configuration of several pools is edited between runs.
 */
export const storyKinds = ["update", "creation", "edits"] as const;
export type StoryKind = (typeof storyKinds)[number];

const scenarios: Record<StoryKind, (chance: Chance, decided: Scenario, images: readonly Image[]) => Scenario> = {
  update: (_, decided) => decided,
  creation: creationOf,
  edits: editsOf,
};

/** Of ten stories of chance one is a creation, and two are edits. */
const shares: StoryKind[] = [...Array<StoryKind>(7).fill("update"), "creation", "edits", "edits"];

/** Plays the story of a seed: runs with faults and kills, then fault-free runs that must end as configured. */
export async function simulate(
  seed: number,
  { told = false, defect, shape, strike, weather, story }: SimulateOptions = {},
): Promise<Result> {
  const chance = new Chance(seed, "scenario");
  const images = imagesOf(chance);
  const localVolumes = localVolumesOf(new Chance(seed, "local volumes"));
  const allowDestroy = new Chance(seed, "allow destroy").happens(0.2) ? true : undefined;
  const decided = { ...scenarioOf(chance, images), localVolumes, allowDestroy };
  const drawn = new Chance(seed, "kind of story");
  const begun = scenarios[story ?? drawn.pick(shares)](drawn, decided, images);
  const drawnSo = withSiteOff(new Chance(seed, "site off"), withRegistries(new Chance(seed, "registries"), begun));
  const scenario = shape?.(drawnSo) ?? drawnSo;
  const world = new World({ seed, images, workloads: scenario.workloads, told });
  defect?.(world);
  world.faults.strike = strike;
  const catalogue = new Map(images.map(({ name, rke2 }) => [name, rke2]));
  const play = new Play(world, chance, scenario, (config) => poolSpecs(config, catalogue), new Storms(world, weather));
  await world
    .run(() => play.all(images.at(-1)?.name ?? ""))
    .catch((error: unknown) => {
      world.story.wrong(
        `the simulation itself failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    });
  return { seed, violations: world.story.violations, story: world.story.lines, coverage: world.coverage.counted };
}

class Play {
  private readonly world: World;
  private readonly chance: Chance;
  private readonly scenario: Scenario;
  private readonly specsOf: (config: Config) => PoolSpec[];
  private readonly engine: Engine;
  private readonly disks: LocalDisks | undefined;
  private wish: Wish;
  /** Until then a fault may still have an effect on a machine. */
  private wellAt = 0;
  /** Whether the pool was ever complete: before that, no availability is guaranteed. */
  private established = false;
  private readonly storms: Storms;
  private readonly blows: (() => void)[] = [];
  /** Host faults that wait for a join. */
  private awaited: Blow[] = [];
  private readonly joined = new Set<string>();
  /** States of the engine before each act. */
  private readonly states: ReturnType<Engine["copy"]>[] = [];
  private readonly imports: Chance;
  /** How often an operator has changed the content of a pool because its nodes were in no state. */
  private readonly raised = { servers: 0, workers: 0 };
  private importedTimes = 0;
  /** The slots that are wanted of the agents, while there are more for a node that is in no state. */
  private slotsAfter: number | undefined;

  constructor(
    world: World,
    chance: Chance,
    scenario: Scenario,
    specsOf: (config: Config) => PoolSpec[],
    storms: Storms,
  ) {
    this.world = world;
    this.chance = chance;
    this.scenario = scenario;
    this.specsOf = specsOf;
    this.engine = new Engine(world, "demo");
    this.wish = scenario.before;
    const { localVolumes } = scenario;
    this.disks = localVolumes && new LocalDisks(world, new Chance(world.seed, "local disks"), localVolumes);
    this.storms = storms;
    this.imports = new Chance(world.seed, "imports");
  }

  async all(goodImage: string): Promise<void> {
    const { world } = this;
    this.plant();
    world.cluster.objects.onChange(({ collection, object }) => {
      if (collection === "configmaps") this.lookForJoins(object);
    });
    await world.time.sleep(60_000);
    if (this.scenario.planted) await this.calmly("takes the planted pool over");
    for (let volume = 0; volume < (this.scenario.localVolumes?.planted ?? 0); volume += 1) this.disks?.bind();
    if (this.scenario.creation !== true) this.storms.stand();
    for (const act of this.scenario.acts) {
      if (this.isCreation() && act.wish !== this.scenario.before) await this.create();
      await this.perform(act, act === this.scenario.acts[this.scenario.siteOff ?? -1]);
    }
    world.faults.strike = undefined;
    await this.clear();
    await this.settle(goodImage);
    // A repair may find a node that is in no state, and the operator replaces it.
    if (this.importedTimes > 0 && (await this.repairs())) await this.settle(goodImage);
    await this.idle();
    // Longer than the life of a join token or a lease; a soak may end meanwhile.
    await world.time.sleep(600_000);
    await this.calmly("sees what the time has brought");
    await this.idle();
    endChecks(world, this.engine.clusterPlan);
    if (this.wish.registries) registriesCheck(world, this.engine.clusterPlan, this.wish.registries);
  }

  private plant(): void {
    const { world, scenario } = this;
    const specs = this.specsOf(configOf(scenario, scenario.before));
    plantPools(
      world,
      this.engine,
      specs.filter(({ role }) => scenario.creation !== true && (role === "server" || scenario.planted)),
    );
    this.established = scenario.planted;
    this.promise();
  }

  /** Ends all faults, and waits until everything is healthy again. */
  private async clear(): Promise<void> {
    const { world } = this;
    world.faults.weather = calm;
    this.awaited = [];
    for (const takeBack of this.blows) takeBack();
    this.storms.end();
    this.wellAt = Math.max(this.wellAt, this.storms.wellAt, world.cluster.control.etcd.stalledUntil);
    if (world.time.elapsed() < this.wellAt) await world.time.sleep(this.wellAt - world.time.elapsed());
  }

  /** Nobody wants another cluster before there is one: runs without faults create what those before have not. */
  private async create(): Promise<void> {
    await this.clear();
    // A guest that boots cannot be asked yet.
    await this.world.time.sleep(60_000);
    for (let run = 0; run < patience && this.isCreation(); run += 1) await this.calmly("creates the cluster");
    if (this.isCreation())
      this.world.story.wrong(`after ${patience} calm runs there is no cluster: ${this.engine.why}`);
    this.storms.stand();
  }

  private async perform(act: Act, isOff: boolean): Promise<void> {
    const { world } = this;
    this.wish = this.raise(act.wish);
    this.slotsAfter = undefined;
    // A kept VM that is in no state is another matter: nothing but its data would have to move, and no repair moves that.
    const mayImport = this.scenario.localVolumes === undefined && act.wish.others === undefined && !this.isCreation();
    if (mayImport && this.imports.happens(0.08)) await this.importOlder();
    // Nobody goes back to a time before there was a cluster.
    if (!this.isCreation()) this.states.push(this.engine.copy());
    this.promise();
    if (this.scenario.allowDestroy === true) world.coverage.event("an update that allows a destroy");
    world.story.tell("operator", () => `wants ${JSON.stringify(act.wish)}`);
    if (isOff) await this.runWhileOff();
    world.faults.weather = act.weather;
    this.storms.pass(this.isCreation());
    for (const blow of act.blows) {
      if (blow.after === "start") this.befalls(blow);
      else this.awaited.push(blow);
    }
    for (const at of this.scenario.localVolumes?.later ?? [])
      this.blows.push(world.time.after(at, () => this.disks?.bind()));
    const outcome = await this.up(new Killer(world, this.chance, act.kill));
    if (outcome === "done") this.establish();
    await world.time.sleep(act.pause);
  }

  /** The site is off, nobody has thought of that, and an update is refused until the machines run again. */
  private async runWhileOff(): Promise<void> {
    const { world, engine } = this;
    await this.clear();
    await this.rest();
    const start = await shutSiteDown(world);
    const outcome = await this.up(new Killer(world, this.chance));
    if (outcome !== "refused" || !(await helps(world, engine.why)))
      world.story.wrong(`a run while the site is off ends ${outcome}: ${engine.why}`);
    await start();
    // Pods start elsewhere only after Kubernetes has given those up that were on a node that is off.
    this.wellAt = Math.max(this.wellAt, world.time.elapsed() + 420_000);
    this.storms.stand();
  }

  /** Lets everything end that runs. */
  private async rest(): Promise<void> {
    const { world } = this;
    for (let left = 120; left > 0 && (world.living().length > 0 || world.dc.isBusy()); left -= 1)
      await world.time.sleep(500);
  }

  /** Whether this run is to create the cluster, as none before has done. */
  private isCreation(): boolean {
    return this.scenario.creation === true && !this.established;
  }

  /** What somebody wants, with the changes that an operator made because nodes were in no state. */
  private raise(wish: Wish): Wish {
    const { servers, workers } = this.raised;
    const own = wish.servers && {
      servers: {
        ...wish.servers,
        cores: wish.servers.cores + servers,
        replaceOnlyServer: servers > 0 || wish.servers.replaceOnlyServer === true,
      },
    };
    return { ...wish, rollout: wish.rollout + workers, ...own };
  }

  /** The newest state is lost: an operator imports the one of an act before, or one that lacks a node. */
  private async importOlder(): Promise<void> {
    const { world, engine, imports } = this;
    world.faults.weather = calm;
    await this.rest();
    const older = this.states.length > 0 ? imports.pick(this.states) : undefined;
    if (older !== undefined) engine.imports(older);
    else {
      const nodes = [...world.dc.vms.values()].filter(({ name }) => engine.hasClaimed(name));
      if (nodes.length === 0) return;
      engine.forgets(imports.pick(nodes).name);
    }
    world.story.tell("operator", () => "imports an older state");
    world.coverage.event("an older state");
    this.importedTimes += 1;
    await this.repairs();
  }

  /** @returns whether the operator has changed the content of a pool for what the repair said */
  private async repairs(): Promise<boolean> {
    const before = { ...this.raised };
    // The list of VMs is seconds old.
    await this.world.time.sleep(15_000);
    const pools = await this.engine.repairByHand(configOf(this.scenario, this.wish));
    if (pools.size > 0) delete this.scenario.strategy.canary;
    const slots = pools.get("workers") ?? 0;
    if (slots > this.wish.slots) {
      this.slotsAfter ??= this.wish.slots;
      this.wish = { ...this.wish, slots };
    }
    for (const pool of ["servers", "workers"] as const) {
      if (!pools.has(pool) || this.raised[pool] === this.importedTimes) continue;
      const { servers: own } = this.wish;
      const by = this.importedTimes - this.raised[pool];
      this.raised[pool] = this.importedTimes;
      if (pool === "workers") this.wish = { ...this.wish, rollout: this.wish.rollout + by };
      else if (own) this.wish = { ...this.wish, servers: { ...own, cores: own.cores + by, replaceOnlyServer: true } };
    }
    return before.servers !== this.raised.servers || before.workers !== this.raised.workers;
  }

  /** Whether a run has failed on nodes that an older state does not have; the operator repairs then. */
  private async repairsOld(): Promise<boolean> {
    const { why } = this.engine;
    const isOld = this.importedTimes > 0 && /config file already exists|its number is taken/.test(why);
    // Without a cluster an update forgets no VM that is gone.
    const isGone = this.isCreation() && /is gone: it was deleted outside .* run `npx evergreen repair`/.test(why);
    if (!isOld && !isGone) return false;
    await this.repairs();
    this.promise();
    return true;
  }

  /** Runs until the pool is as configured, whatever the verdicts about its images. */
  private async settle(goodImage: string): Promise<void> {
    for (let run = 0; run < patience; run += 1) {
      const isDone = await this.calmly("goes on");
      const { controlPlane, pools = [] } = this.engine.clusterPlan ?? {};
      const plans = controlPlane ? [controlPlane, ...pools] : [];
      const isSettled = isDone && plans.length > 1 && plans.every(isSteady);
      if (isSettled && this.slotsAfter === undefined) return;
      if (isDone && this.importedTimes > 0) await this.repairs();
      if (isSettled) this.takeSlotsAway();
      const judged = plans.filter((plan) => hasGivenUp(plan) || this.isFaulty(plan)).map(({ role }) => role);
      if (judged.length > 0) {
        this.wish = anew(this.wish, goodImage, judged);
        this.promise();
        this.world.story.tell("operator", () => `tries ${JSON.stringify(this.wish)}`);
      }
      if (plans.some(({ kind }) => kind === "canary" || kind === "soaking")) await this.world.time.sleep(610_000);
    }
    this.world.story.wrong(
      `after ${patience} calm runs the pool is not what is configured: ${this.engine.clusterPlan ? renderClusterPlan(this.engine.clusterPlan).join(" | ") : ""}`,
    );
  }

  /** The nodes that were in no state are replaced: their slots go. */
  private takeSlotsAway(): void {
    this.wish = { ...this.wish, slots: this.slotsAfter ?? this.wish.slots };
    this.slotsAfter = undefined;
    this.promise();
  }

  private async idle(): Promise<void> {
    await this.calmly("finds nothing to do");
    for (const urn of this.engine.ran) this.world.story.wrong(`a run without news ran ${urn}`);
  }

  /**
   * Runs once without faults, after all tasks of Proxmox have ended, and every VM is in its lists: a run before that
   * fails with a message that names the VM, and has to be repeated.
   */
  private async calmly(what: string): Promise<boolean> {
    while (this.world.dc.isBusy() || this.world.dc.isUnlisted()) await this.world.time.sleep(500);
    const outcome = await this.up(new Killer(this.world, this.chance));
    if (outcome === "done") this.establish();
    else if (!this.isExpected() && !(await helps(this.world, this.engine.why)) && !(await this.repairsOld()))
      this.world.story.wrong(`a calm run that ${what} ends ${outcome}: ${this.engine.why}`);
    return outcome === "done";
  }

  /**
   * Whether a failure of the last run is expected. A run that makes nodes of a defective image has to fail. So has a
   * run beside a learner whose machine is gone, which only RKE2 removes, after five minutes; and a run that starts that
   * machine again after them (docs/recovery.md).
   */
  private isExpected(): boolean {
    const { clusterPlan, why } = this.engine;
    if (
      /is a learner( without a Node)?: its join is not over|was removed from etcd before its join was over|etcd has it no more/.test(
        why,
      )
    )
      return true;
    // A server whose Node somebody has deleted: the next run replaces it.
    if (
      /its Node was deleted: RKE2 has taken it out of etcd|was told to join by an earlier run, and has no Node/.test(
        why,
      )
    )
      return true;
    return (
      clusterPlan !== undefined && [clusterPlan.controlPlane, ...clusterPlan.pools].some((plan) => this.isFaulty(plan))
    );
  }

  private isFaulty({ slots }: PoolPlan): boolean {
    return slots.some(({ generation }) => this.world.image(generation.spec.image)?.fault !== undefined);
  }

  private async up(killer: Killer): Promise<Outcome> {
    this.world.watcher.availability.runBegins();
    this.world.etcdWatcher.runBegins();
    this.disks?.runBegins();
    const outcome = await this.engine.up(configOf(this.scenario, this.wish), killer);
    const { controlPlane, pools = [] } = this.engine.clusterPlan ?? {};
    if ([...pools, ...(controlPlane ? [controlPlane] : [])].some(({ reloads }) => reloads !== undefined))
      this.world.coverage.event("registries that change in place");
    return outcome;
  }

  /** The pools are complete: from now on their availability is guaranteed, with the slots that they have now. */
  private establish(): void {
    if (this.established) return;
    this.established = true;
    this.promise();
  }

  private promise(): void {
    this.promiseServers();
    this.world.watcher.availability.promise(this.specsOf(configOf(this.scenario, this.wish)), this.established);
  }

  private promiseServers(): void {
    if (this.isCreation()) return;
    const { etcdWatcher } = this.world;
    const { servers } = configOf(this.scenario, this.wish).controlPlane;
    etcdWatcher.fewest = Math.min(servers, etcdWatcher.fewest || servers);
  }

  /** Finds joined nodes by their record. */
  private lookForJoins({ data }: Stored): void {
    for (const [key, fact] of Object.entries((data ?? {}) as Record<string, string>)) {
      if (!key.startsWith("node.")) continue;
      const { name, phase } = JSON.parse(fact) as { name?: string; phase?: string };
      if (name === undefined || phase !== "joined" || this.joined.has(name)) continue;
      this.joined.add(name);
      const blow = this.awaited.find(({ whom }) => name.startsWith(`demo-${whom}-`));
      if (blow === undefined) continue;
      this.awaited = this.awaited.filter((one) => one !== blow);
      this.befalls(blow, name);
    }
  }

  private befalls(blow: Blow, joined?: string): void {
    this.blows.push(this.world.time.after(blow.at, () => this.strike(blow, joined)));
  }

  private strike({ what, whom, after }: Blow, joined: string | undefined): void {
    const { world, chance } = this;
    const all = [...world.dc.vms.values()].filter(
      ({ name, running }) => running && name.startsWith(`demo-${whom}-`) && (after !== "join" || name === joined),
    );
    const others = all.filter(({ name }) => after !== "join of another" || name !== joined);
    if (others.length === 0) return;
    const vm = chance.pick(others);
    const ms = chance.between(5000, 90_000);
    const takesOut = what === "power cut" || what === "partition";
    if (whom === "servers" && takesOut && !maySpare(world, vm)) return;
    world.story.tell("fate", () => `${what}: ${vm.name}`);
    world.coverage.event(what);
    world.watcher.touchedByFate(vm.name);
    this.wellAt = Math.max(this.wellAt, world.time.elapsed() + ms + 60_000);
    if (what === "flap") world.cluster.nodes.flap(vm.name, ms);
    if (what === "hang") vm.guest?.hang(ms);
    if (what === "move") vm.host = vm.host === "pve1" ? "pve2" : "pve1";
    if (what === "partition") {
      if (vm.guest?.server) vm.guest.server.partition(ms);
      else world.cluster.nodes.flap(vm.name, ms);
    }
    if (what === "power cut") {
      world.watcher.struck(vm.name);
      // Its pods start elsewhere only after Kubernetes has given them up.
      this.wellAt = Math.max(this.wellAt, world.time.elapsed() + 420_000);
      world.dc.powerCut(vm);
    }
  }
}

function isSteady({ kind, slots, reloads }: PoolPlan): boolean {
  return (
    reloads === undefined &&
    kind === "steady" &&
    slots.every(({ creates, replaces }) => !creates && replaces.length === 0)
  );
}

function hasGivenUp({ kind, target, wanted }: PoolPlan): boolean {
  return kind === "held" || (kind === "rollback" && target?.id !== wanted?.id);
}
