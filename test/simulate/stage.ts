import type { EngineState } from "../../src/recovery/engine-state.ts";
import { mend, type Asked, type Books } from "../../src/recovery/mend.ts";
import { messageOf } from "../../src/runtime/errors.ts";
import { poolSpecs } from "../../src/config/config.ts";
import { observeCluster } from "../../src/observe/observed-cluster.ts";
import type { PoolSpec } from "../../src/domain/model/types.ts";
import { Chance } from "./chance.ts";
import type { Vm } from "./data-centre.ts";
import { Engine, proxmox, type Outcome } from "./engine.ts";
import { status } from "./fault-kinds.ts";
import type { Image } from "./guest.ts";
import { Killer, type Kill } from "./killer.ts";
import type { Workload } from "./pods.ts";
import { plantPools } from "./plant.ts";
import { configOf, imageOf, type Scenario, type Wish } from "./scenario.ts";
import { World } from "./world.ts";

/** The images of a stage, by index; the second may be defective. */
export function stageImages(fault?: Image["fault"]): Image[] {
  return [imageOf(0, undefined), imageOf(1, fault), imageOf(2, undefined)];
}

/** The cluster of a stage before the play. */
interface Setting {
  servers: number;
  agents: number;
  workloads?: Workload[];
  soakSeconds?: number;
  /** Of the agent pool. @default 1 */
  maxUnavailable?: number;
  /** Whether the cluster may be destroyed. @default false */
  allowDestroy?: boolean;
  /** Slots of the agent pool that move first. @default all */
  canary?: number;
  /** Days for which VMs with local data are kept. @default such data lets no node leave */
  keepDays?: 0 | 7;
  /** Whether there is nothing yet: no VM and no cluster. @default false */
  empty?: boolean;
  /** Whether the agents are adopted nodes, which no run has replaced yet. @default false */
  adopted?: boolean;
}

/** How a repair is requested, and whether it is certain that no update runs. */
interface Manner {
  asked?: Asked;
  isSure?: boolean;
  /** Whether still no other process is at work. @default always */
  isAlone?: () => boolean;
  /** What is configured. @default what the stage began with */
  wish?: Wish;
}

/** The outcome of a repair. */
interface Mended {
  /** Why it failed; empty: it did not. */
  why: string;
  /** How many things were repaired. */
  done: number;
  said: string[];
  /** VMs that the engine adopted in its refresh of all resources; undefined: there was no such refresh. */
  refreshed: string[] | undefined;
  /** Resources that were refreshed on their own. */
  followed: string[];
  /** How often the state was read. */
  reads: number;
}

/** A world without random faults: a planted cluster, and runs in which a test says when what happens. */
export class Stage {
  readonly world: World;
  readonly engine: Engine;
  readonly before: Wish;
  private readonly images: readonly Image[];
  readonly scenario: Scenario;
  private readonly adopted: boolean;
  private readonly empty: boolean;

  constructor(images: readonly Image[], setting: Setting) {
    const { servers, agents: slots, workloads = [], soakSeconds = 0, maxUnavailable = 1, allowDestroy } = setting;
    const { canary, adopted = false, empty = false, keepDays } = setting;
    const localVolumes = keepDays === undefined ? undefined : { keepDays, planted: 0, later: [] };
    this.empty = empty;
    const [{ name: image } = { name: "" }] = images;
    const first = canary === undefined ? {} : { canary };
    const strategy = { kind: "rolling", surge: maxUnavailable, maxUnavailable, soakSeconds, ...first };
    this.adopted = adopted;
    this.images = images;
    this.before = { image, slots, rollout: 0, servers: { image, count: servers, cores: 4 } };
    const known = { servers, strategy, before: this.before, planted: true, workloads, acts: [] };
    this.scenario = { ...known, allowDestroy, localVolumes };
    this.world = new World({ seed: 1, images, workloads, told: false });
    this.engine = new Engine(this.world, "demo");
  }

  /** Runs `work` once the cluster is planted and idle, and the first run is over. Adopted nodes wait for `work`. */
  async play<T>(work: () => Promise<T>): Promise<T> {
    const { world, engine, before } = this;
    return await world.run(async () => {
      if (!this.empty) plantPools(world, engine, this.specsOf(before), this.adopted);
      await world.time.sleep(60_000);
      if (!this.adopted && !this.empty) await this.up(before);
      return await work();
    });
  }

  /** @param kill what is killed at which request */
  async up(wish: Wish, kill?: Kill): Promise<Outcome> {
    this.promise(wish);
    return await this.engine.up(this.config(wish), new Killer(this.world, new Chance(1, "killer"), kill));
  }

  /** Runs `pulumi destroy`. @param kill what is killed at which request */
  async destroy(kill?: Kill): Promise<Outcome> {
    return await this.engine.destroy(new Killer(this.world, new Chance(1, "killer"), kill));
  }

  /** Runs `pulumi destroy`, of which all processes die at once when a condition holds. */
  async destroyUntil(comes: () => boolean): Promise<Outcome> {
    const killer = new Killer(this.world, new Chance(1, "killer"));
    const run = this.engine.destroy(killer);
    await this.until(comes, 1);
    killer.killAll();
    return await run;
  }

  /** All processes of the run die at once when a condition holds. @param every milliseconds after which it is looked at */
  async dieAt(wish: Wish, comes: () => boolean, every?: number): Promise<Outcome> {
    this.promise(wish);
    const killer = new Killer(this.world, new Chance(1, "killer"));
    const run = this.engine.up(this.config(wish), killer);
    await this.until(comes, every);
    killer.killAll();
    return await run;
  }

  /** Runs `evergreen repair` with this as the engine's state; by default it has all VMs of ours. */
  async mend(
    remembers: Partial<EngineState>,
    { asked = "by hand", isSure = true, isAlone = () => true, wish = this.before }: Manner = {},
  ): Promise<Mended> {
    const { world } = this;
    const mended: Mended = { why: "", done: 0, said: [], refreshed: undefined, followed: [], reads: 0 };
    const nodes = [...world.dc.vms.values()].filter(({ owner }) => owner === "ours");
    const vms = nodes.map(({ name, vmid, host }) => ({ name, vmid, host, urn: name }));
    const state = { pending: [], deleting: [], vms, unfinished: [], root: ["stack"], ...remembers };
    const books: Books = {
      readState: () => {
        mended.reads += 1;
        return Promise.resolve(state);
      },
      refresh: (adopted, urns) => {
        const isAll = adopted.length > 0 || urns.length === 0;
        if (isAll && world.dc.silent.size > 0) return Promise.reject(new Error("Network is unreachable"));
        mended.refreshed = adopted.map(({ id }) => id);
        return Promise.resolve();
      },
      refreshOnly: (urns) => Promise.resolve(void mended.followed.push(...urns)),
    };
    const ending = await world.process("program-repair").run(async () => {
      const [pve, config] = [proxmox(), this.config(wish)];
      const site = { pve, config, observed: await observeCluster(pve, config) };
      const lost = new Error("the lease update was lost");
      const fence = { check: () => (isAlone() ? Promise.resolve() : Promise.reject(lost)), isSure };
      return await mend(books, site, { asked, fence, report: (what, how) => mended.said.push(`${what} -> ${how}`) });
    });
    if (ending.how === "done") mended.done = ending.value;
    if (ending.how === "failed") mended.why = messageOf(ending.error);
    return mended;
  }

  /** Runs `evergreen repair` with the state of the engine. @returns why it failed; empty: it did not */
  async repair(wish: Wish): Promise<string> {
    await this.engine.repairByHand(this.config(wish));
    return this.engine.why;
  }

  /** The configuration with agents of another image. */
  agentsOf(version: number): Wish {
    return { ...this.before, image: this.images[version]?.name ?? "" };
  }

  /** The configuration with servers of another image. */
  serversOf(version: number): Wish {
    const { count, cores } = this.before.servers ?? { count: 0, cores: 0 };
    return { ...this.before, servers: { image: this.images[version]?.name ?? "", count, cores } };
  }

  /** The name of the VM with this VMID. */
  nameOf(vmid: number): string {
    return this.world.dc.vms.get(vmid)?.name ?? "";
  }

  /** Runs `happens` the first time that a process takes a lease. */
  onLease(name: string, happens: () => void): void {
    let done = false;
    this.world.cluster.objects.onChange(({ collection, object }) => {
      if (done || collection !== "leases" || object.metadata.name !== name) return;
      done = true;
      happens();
    });
  }

  /** The leases of a step cannot be renewed, and the step cannot know whether it still holds them. */
  loseLease(step: string): void {
    this.world.believes = ({ path, process }) =>
      path.includes("/leases/") && process.name.startsWith(step)
        ? status(503, "ServiceUnavailable", "etcdserver: request timed out")
        : undefined;
  }

  /** The VM with this VMID. */
  vm(vmid: number): Vm {
    const vm = this.world.dc.vms.get(vmid);
    if (vm === undefined) throw new Error(`there is no VM ${vmid}`);
    return vm;
  }

  /** VMs lose their power. */
  cutPower(...vmids: number[]): void {
    for (const vm of vmids.map((vmid) => this.vm(vmid))) {
      this.world.watcher.struck(vm.name);
      this.world.dc.powerCut(vm);
    }
  }

  /** Lets time pass until a condition holds. */
  async until(comes: () => boolean, every = 250): Promise<void> {
    while (!comes()) await this.world.time.sleep(every);
  }

  private promise(wish: Wish): void {
    const { availability } = this.world.watcher;
    availability.promise(this.specsOf(wish), !this.empty);
    availability.runBegins();
  }

  specsOf(wish: Wish): PoolSpec[] {
    return poolSpecs(this.config(wish), new Map(this.images.map(({ name, rke2 }) => [name, rke2])));
  }

  private config(wish: Wish) {
    return configOf(this.scenario, wish);
  }
}
