import type { Role } from "../../src/domain/model/types.ts";
import { Chance } from "./chance.ts";
import type { Engine } from "./engine.ts";
import { calm } from "./faults.ts";
import { anew } from "./operator.ts";
import { configOf, type Scenario, type Wish } from "./scenario.ts";
import type { Resources } from "./state.ts";
import type { World } from "./world.ts";

/** What is wanted of the cluster, with what an operator changes of it because nodes are in no state of the engine. */
export class Wanted {
  wish: Wish;
  private readonly world: World;
  private readonly engine: Engine;
  private readonly scenario: Scenario;
  /** States of the engine before each act. */
  private readonly states: Resources[] = [];
  private readonly imports: Chance;
  /** How often an operator has changed the content of a pool because its nodes were in no state. */
  private readonly raised = { servers: 0, workers: 0 };
  private importedTimes = 0;
  /** The slots that are wanted of the agents, while there are more for a node that is in no state. */
  private slotsAfter: number | undefined;

  constructor(world: World, engine: Engine, scenario: Scenario) {
    this.world = world;
    this.engine = engine;
    this.scenario = scenario;
    this.wish = scenario.before;
    this.imports = new Chance(world.seed, "imports");
  }

  get config() {
    return configOf(this.scenario, this.wish);
  }

  /** Whether an older state was imported: nodes may be in no state. */
  get isImported(): boolean {
    return this.importedTimes > 0;
  }

  /** Whether there are more slots than are wanted, for a node that is in no state. */
  get hasMoreSlots(): boolean {
    return this.slotsAfter !== undefined;
  }

  /** The wish of an act, with the changes that an operator made because nodes were in no state. */
  change(wish: Wish): void {
    const { servers, workers } = this.raised;
    const own = wish.servers && {
      servers: {
        ...wish.servers,
        cores: wish.servers.cores + servers,
        replaceOnlyServer: servers > 0 || wish.servers.replaceOnlyServer === true,
      },
    };
    this.wish = { ...wish, rollout: wish.rollout + workers, ...own };
    this.slotsAfter = undefined;
  }

  /** Wants pools again, with this image, that were judged failed. */
  tryAnew(image: string, judged: readonly Role[]): void {
    this.wish = anew(this.wish, image, judged);
  }

  /** The nodes that were in no state are replaced: their slots go. */
  takeSlotsAway(): void {
    this.wish = { ...this.wish, slots: this.slotsAfter ?? this.wish.slots };
    this.slotsAfter = undefined;
  }

  /** Keeps the state of the engine as it is now: an operator may go back to it. */
  keepState(): void {
    this.states.push(this.engine.state.copy());
  }

  /** In some acts the newest state is lost: an operator imports the one of an act before, or one that lacks a node. */
  async mayImport(): Promise<void> {
    if (this.imports.happens(0.08)) await this.importOlder();
  }

  private async importOlder(): Promise<void> {
    const { world, engine, imports } = this;
    world.faults.weather = calm;
    await world.rest();
    const older = this.states.length > 0 ? imports.pick(this.states) : undefined;
    if (older !== undefined) engine.state.imports(older);
    else {
      const nodes = [...world.dc.vms.values()].filter(({ name }) => engine.state.hasClaimed(name));
      if (nodes.length === 0) return;
      engine.state.forgets(imports.pick(nodes).name);
    }
    world.story.tell("operator", () => "imports an older state");
    world.coverage.event("an older state");
    this.importedTimes += 1;
    world.hasOlderState = true;
    await this.repair();
  }

  /** @returns whether the operator has changed the content of a pool for what the repair said */
  async repair(): Promise<boolean> {
    const before = { ...this.raised };
    // The list of VMs is seconds old.
    await this.world.time.sleep(15_000);
    const pools = await this.engine.repairByHand(this.config);
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

  /** Whether a run has failed on nodes that an older state does not have. */
  failsOnOlderState(): boolean {
    return this.isImported && /config file already exists|its number is taken/.test(this.engine.why);
  }
}
