import type { Config } from "../../src/config/config.ts";
import { renderClusterPlan } from "../../src/program/cluster-plan.ts";
import type { PoolPlan, PoolSpec } from "../../src/domain/model/types.ts";
import { Blows } from "./blows.ts";
import { Chance } from "./chance.ts";
import { endWithDestroy } from "./ending-destroy.ts";
import { endChecks, registriesCheck } from "./end.ts";
import { Engine, type Outcome } from "./engine.ts";
import { calm } from "./faults.ts";
import { Killer } from "./killer.ts";
import { LocalDisks } from "./local-volumes.ts";
import { givesDisksAway, helps } from "./operator.ts";
import { plantPools } from "./plant.ts";
import { configOf, type Act, type Scenario } from "./scenario.ts";
import { shutSiteDown } from "./site-off.ts";
import { Wanted } from "./wanted.ts";
import { ZonalDisks } from "./zonal-volumes.ts";
import type { Storms } from "./weather/storms.ts";
import type { World } from "./world.ts";

/** Fault-free runs in which a pool must reach its configuration: a canary, a soak, a judged image, the rest. */
const patience = 8;

/** Plays a story: its acts, and then runs without faults, which must end as configured. */
export class Play {
  private readonly world: World;
  private readonly chance: Chance;
  private readonly scenario: Scenario;
  private readonly specsOf: (config: Config) => PoolSpec[];
  private readonly engine: Engine;
  private readonly disks: LocalDisks | undefined;
  private readonly zonal: ZonalDisks | undefined;
  /** Whether the pool was ever complete: before that, no availability is guaranteed. */
  private established = false;
  private readonly storms: Storms;
  private readonly blows: Blows;
  private readonly wanted: Wanted;

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
    const { localVolumes, zonalVolumes } = scenario;
    this.zonal = zonalVolumes && new ZonalDisks(world, new Chance(world.seed, "zonal disks"), zonalVolumes);
    this.engine.onPlanned = (plan) => this.zonal?.planned(plan);
    this.disks = localVolumes && new LocalDisks(world, new Chance(world.seed, "local disks"), localVolumes);
    this.storms = storms;
    this.blows = new Blows(world, chance);
    this.wanted = new Wanted(world, this.engine, scenario);
  }

  async all(goodImage: string): Promise<void> {
    const { world } = this;
    this.plant();
    this.blows.watch();
    await world.time.sleep(60_000);
    if (this.scenario.planted) await this.calmly("takes the planted pool over");
    for (let volume = 0; volume < (this.scenario.localVolumes?.planted ?? 0); volume += 1) this.disks?.bind();
    this.zonal?.bind();
    if (this.scenario.creation !== true) this.storms.stand();
    for (const act of this.scenario.acts) {
      if (this.isCreation() && act.wish !== this.scenario.before) await this.create();
      await this.perform(act, act === this.scenario.acts[this.scenario.siteOff ?? -1]);
    }
    world.faults.strike = undefined;
    await this.clear();
    await this.settle(goodImage);
    // A repair may find a node that is in no state, and the operator replaces it.
    if (this.wanted.isImported && (await this.wanted.repair())) await this.settle(goodImage);
    await this.idle();
    // Longer than the life of a join token or a lease; a soak may end meanwhile.
    await world.time.sleep(600_000);
    await this.calmly("sees what the time has brought");
    await this.idle();
    endChecks(world, this.engine.clusterPlan);
    const { registries } = this.wanted.wish;
    if (registries) registriesCheck(world, this.engine.clusterPlan, registries);
    const { allowDestroy, localVolumes } = this.scenario;
    // Data on the VMs goes with the cluster, and the watchers of data know nothing of a destroy.
    const hasData = localVolumes !== undefined || this.hasAddedDisks();
    if (allowDestroy === true && !hasData) await endWithDestroy(world, this.engine);
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

  /** Whether somebody has attached a disk to a VM: it is kept when its node leaves. */
  private hasAddedDisks(): boolean {
    return [...this.world.dc.vms.values()].some(({ attached }) => attached.size > 0);
  }

  /** Ends all faults, and waits until everything is healthy again. */
  private async clear(): Promise<void> {
    const { world } = this;
    world.faults.weather = calm;
    this.blows.end();
    this.storms.end();
    const wellAt = Math.max(this.blows.wellAt, this.storms.wellAt, world.cluster.control.etcd.stalledUntil);
    if (world.time.elapsed() < wellAt) await world.time.sleep(wellAt - world.time.elapsed());
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
    this.wanted.change(act.wish);
    // A kept VM that is in no state is another matter: nothing but its data would have to move, and no repair moves that.
    const mayKeep = this.scenario.localVolumes !== undefined || this.hasAddedDisks();
    const mayImport = !mayKeep && act.wish.others === undefined && !this.isCreation();
    if (mayImport) await this.wanted.mayImport();
    // Nobody goes back to a time before there was a cluster.
    if (!this.isCreation()) this.wanted.keepState();
    this.promise();
    if (this.scenario.allowDestroy === true) world.coverage.event("an update that allows a destroy");
    world.story.tell("operator", () => `wants ${JSON.stringify(act.wish)}`);
    if (isOff) await this.runWhileOff();
    world.faults.weather = act.weather;
    this.storms.pass(this.isCreation());
    this.blows.plan(act.blows);
    for (const at of this.scenario.localVolumes?.later ?? []) this.blows.planAt(at, () => this.disks?.bind());
    const outcome = await this.up(new Killer(world, this.chance, act.kill));
    if (outcome === "done") this.establish();
    await world.time.sleep(act.pause);
  }

  /** The site is off, nobody has thought of that, and an update is refused until the machines run again. */
  private async runWhileOff(): Promise<void> {
    const { world, engine } = this;
    await this.clear();
    await world.rest();
    const start = await shutSiteDown(world);
    const outcome = await this.up(new Killer(world, this.chance));
    if (outcome !== "refused" || !(await helps(world, engine.why)))
      world.story.wrong(`a run while the site is off ends ${outcome}: ${engine.why}`);
    await start();
    // Pods start elsewhere only after Kubernetes has given those up that were on a node that is off.
    this.blows.lastsFor(420_000);
    this.storms.stand();
  }

  /** Whether this run is to create the cluster, as none before has done. */
  private isCreation(): boolean {
    return this.scenario.creation === true && !this.established;
  }

  /** Whether a run has failed on nodes that an older state does not have; the operator repairs then. */
  private async repairsOld(): Promise<boolean> {
    const { why } = this.engine;
    // Without a cluster an update forgets no VM that is gone.
    const isGone = this.isCreation() && /is gone: it was deleted outside .* run `npx evergreen repair`/.test(why);
    if (!this.wanted.failsOnOlderState() && !isGone) return false;
    await this.wanted.repair();
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
      if (isSettled && !this.wanted.hasMoreSlots) return;
      if (isDone && this.wanted.isImported) await this.wanted.repair();
      if (isSettled) {
        this.wanted.takeSlotsAway();
        this.promise();
      }
      const judged = plans.filter((plan) => hasGivenUp(plan) || this.isFaulty(plan)).map(({ role }) => role);
      if (judged.length > 0) {
        this.wanted.tryAnew(goodImage, judged);
        this.promise();
        this.world.story.tell("operator", () => `tries ${JSON.stringify(this.wanted.wish)}`);
      }
      if (plans.some(({ kind }) => kind === "canary" || kind === "soaking")) await this.world.time.sleep(610_000);
    }
    this.world.story.wrong(
      `after ${patience} calm runs the pool is not what is configured: ${this.engine.clusterPlan ? renderClusterPlan(this.engine.clusterPlan).join(" | ") : ""}`,
    );
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
    else if (
      !givesDisksAway(this.world, this.engine.why) &&
      this.zonal?.helps(this.engine.why) !== true &&
      !this.isExpected() &&
      !(await this.isHelped()) &&
      !(await this.repairsOld())
    )
      this.world.story.wrong(`a calm run that ${what} ends ${outcome}: ${this.engine.why}`);
    return outcome === "done";
  }

  private async isHelped(): Promise<boolean> {
    const { why } = this.engine;
    return await helps(this.world, why);
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
    this.zonal?.runBegins();
    const outcome = await this.engine.up(this.wanted.config, killer);
    this.zonal?.runEnds(outcome);
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
    this.world.watcher.availability.promise(this.specsOf(this.wanted.config), this.established);
  }

  private promiseServers(): void {
    if (this.isCreation()) return;
    const { etcdWatcher } = this.world;
    const { servers } = this.wanted.config.controlPlane;
    etcdWatcher.fewest = Math.min(servers, etcdWatcher.fewest || servers);
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
