import { type KnownVm, VM_TYPE } from "../../src/recovery/engine-state.ts";
import { findUntracked, mayForget, refuseHidden, refuseStrangers } from "../../src/recovery/missing-vms.ts";
import { mend, type Asked, type Books } from "../../src/recovery/mend.ts";
import { messageOf } from "../../src/runtime/errors.ts";
import type { Config } from "../../src/config/config.ts";
import { renderClusterPlan, type ClusterPlan } from "../../src/program/cluster-plan.ts";
import { LeaseLost, type Fence } from "../../src/clients/kubernetes/lease.ts";
import { observeCluster, type ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { Proxmox } from "../../src/clients/proxmox/client.ts";
import { findUnseen } from "../../src/clients/proxmox/vms.ts";
import { variables } from "../../src/domain/model/step-environment.ts";
import type { PoolPlan } from "../../src/domain/model/types.ts";
import {
  BEFORE_POOL,
  poolGraph,
  verifyOf,
  type PoolResource,
  type StepResource,
} from "../../src/domain/rollout/graph.ts";
import { poolArgs } from "../../src/program/place-nodes.ts";
import { prepare, type Prepared } from "../../src/program/prepare.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { verbs } from "../../src/steps/verbs.ts";
import { Chance } from "./chance.ts";
import { Killer } from "./killer.ts";
import { volumesOn } from "./local-volumes.ts";
import { current, type Ending, type Process } from "./process.ts";
import { Provider, Unconfigured, type MadeVm } from "./provider.ts";
import type { World } from "./world.ts";

export type Outcome = "done" | "failed" | "refused" | "killed";

/** What the state has of a resource, as of its last success. */
interface Resource {
  vm?: MadeVm;
  /** Its create made the VM and failed after that: a later update configures nothing more. */
  unfinished?: true;
  step?: { environment: Record<string, string>; stdout: string; deleteVerb?: string };
}

type Environment = Record<string, string>;

/** The lease of an update that is held: the steps of the model share no other one. */
const granted: Fence = { check: () => Promise.resolve(), requireOwned: () => Promise.resolve() };

/**
 * The behaviour of the Pulumi engine that the design relies on: edges, updates before deletes, and failed updates that
 * keep their old inputs.
 */
export class Engine {
  private readonly world: World;
  private readonly provider: Provider;
  private readonly state = new Map<string, Resource>();
  /** Creates that have begun and whose result is unknown. */
  private readonly pending = new Map<string, MadeVm>();
  /** Deletes that have begun and whose result is unknown. */
  private readonly deleting = new Set<string>();
  /** Whether the operator destroys what a repair says is a clone of a killed run, or somebody else's. */
  destroysByHand = true;
  /** A VM out of sight may be a clone of ours: the operator was told to repair again. */
  private mayHide = false;
  /** The pools of nodes that are in no state, as the last repair has said, and the slots that it asks for. */
  private readonly toRaise = new Map<string, number>();
  /** Whether a step finds that its engine still has the lease of the update. */
  mayUpdate: (step: string) => boolean = () => true;
  /** The plan of the last run. */
  clusterPlan: ClusterPlan | undefined;
  /** Steps that the last run started. */
  ran: string[] = [];
  /** The first failure of the last run. */
  why = "";

  constructor(world: World, cluster: string) {
    this.world = world;
    this.provider = new Provider(world, cluster);
  }

  /** Adds a VM that an earlier run made to the state. */
  knows(vm: MadeVm): void {
    this.state.set(vm.name, { vm });
  }

  /** Removes a node's VM and steps from the state, as the import of an older state does. */
  forgets(name: string): void {
    for (const urn of [name, `${name}-claim`, `${name}-join`]) this.state.delete(urn);
  }

  /** A copy of the state, as the backend keeps one of each update. */
  copy(): ReadonlyMap<string, Resource> {
    return new Map(this.state);
  }

  /** Runs `pulumi stack import` with an older state. */
  imports(older: ReadonlyMap<string, Resource>): void {
    this.state.clear();
    for (const [urn, resource] of older) this.state.set(urn, resource);
    this.pending.clear();
    this.deleting.clear();
  }

  /**
   * Runs `evergreen repair`, with an operator who does what it says.
   * @returns the pools whose content the operator is to change, and the slots that they have to have then
   */
  async repairByHand(config: Config): Promise<Map<string, number>> {
    this.toRaise.clear();
    this.why = "";
    const ending = await this.start(
      "program-repair",
      new Killer(this.world, new Chance(this.world.seed, "repair")),
      () => this.repair(proxmox(), config, "by hand"),
    );
    this.report("the repair", ending);
    const said = ending.how === "failed" ? messageOf(ending.error) : "";
    if (said.includes("npx pulumi refresh has the engine forget them")) {
      this.world.story.tell("operator", () => "refreshes the state of the engine");
      await this.books.refresh([], []);
    }
    return this.forgetGone(said) ? await this.repairByHand(config) : new Map(this.toRaise);
  }

  /** Deletes VMs from the state as an error says, if they are gone: only an operator knows that. */
  private forgetGone(said: string): boolean {
    const named = [...said.matchAll(/pulumi state delete --target-dependents '([^']+)'/g)].map(([, urn = ""]) => urn);
    const gone = named.filter((name) => ![...this.world.dc.vms.values()].some((vm) => vm.name === name));
    for (const name of gone) {
      this.world.story.tell("operator", () => `deletes ${name} from the state of the engine`);
      this.forgets(name);
    }
    return gone.length > 0;
  }

  /** Whether the state has the claim of a node. */
  hasClaimed(name: string): boolean {
    return this.state.has(`${name}-claim`);
  }

  /** Runs `pulumi up`. */
  async up(config: Config, killer: Killer): Promise<Outcome> {
    this.ran = [];
    this.why = "";
    const work = this.update(config, killer);
    const outcome = await Promise.race([work, killer.engineDied.then((): Outcome => "killed")]);
    this.world.story.tell("engine", () => `the update is ${outcome}`);
    const { slots = [], unreachable = [] } = this.clusterPlan?.controlPlane ?? {};
    // Servers whose host does not answer are named, and left alone.
    const servers = slots.map(({ name }) => name).filter((name) => !unreachable.some((one) => one.name === name));
    if (outcome === "done") this.world.etcdWatcher.runDone(servers);
    return outcome;
  }

  private async update(config: Config, killer: Killer): Promise<Outcome> {
    const program = await this.start("program", killer, () => this.program(config));
    if (program.how !== "done") {
      this.report("the program", program);
      return "refused";
    }
    const { clusterPlan } = program.value;
    this.clusterPlan = clusterPlan;
    this.world.watcher.availability.runPlanned();
    for (const line of renderClusterPlan(clusterPlan)) this.world.story.tell("plan", () => line);
    const declared = declare(config, program.value);
    if (!(await this.make(declared, killer))) return "failed";
    return (await this.remove(declared, killer)) ? "done" : "failed";
  }

  /** What index.ts and `evergreen repair` do before any resource is declared. */
  private async program(config: Config): Promise<Prepared> {
    const pve = proxmox();
    const untracked = await this.lookBefore(pve, config);
    const unclaimed = [...this.state].filter(([urn, { vm }]) => vm && !this.hasClaimed(urn)).length;
    if (this.pending.size + this.deleting.size + this.unfinished().length + untracked + unclaimed > 0)
      await this.repair(pve, config, "by an update");
    // The operator was told to repair once the clone is back in sight.
    else if (this.mayHide) {
      this.mayHide = false;
      await this.repair(pve, config, "by hand");
    }
    const observed = await observeCluster(pve, config);
    this.forget(observed);
    const say = (line: string): void => this.world.story.tell("program", () => line);
    return await prepare({ pve, config, observed, isPreview: false, say, warn: say });
  }

  /**
   * Refuses to begin an update while a VM of the state is out of the token's sight, or another one has its number
   * (cli/pre-update.ts). When this check fails, the program decides.
   * @returns how many VMs are in no state
   */
  private async lookBefore(pve: Proxmox, config: Config): Promise<number> {
    const { vms: known } = await this.books.readState();
    const look = async () => {
      const { hidden, seen } = await findUnseen(pve, config.site.proxmoxPool, known);
      return { hidden, seen, untracked: await findUntracked(pve, known, config) };
    };
    const { seen, hidden, untracked } = (await look().catch(() => undefined)) ?? {
      seen: [],
      hidden: [],
      untracked: [],
    };
    refuseStrangers(known, seen, config);
    refuseHidden(hidden);
    return untracked.length;
  }

  private unfinished(): MadeVm[] {
    return [...this.state.values()].flatMap(({ vm, unfinished }) => (vm && unfinished ? [vm] : []));
  }

  /** Repairs as `evergreen repair` does, with the state of this engine in place of the backend's. */
  private async repair(pve: Proxmox, config: Config, asked: Asked): Promise<void> {
    const observed = await observeCluster(pve, config);
    const fence = { check: () => Promise.resolve(), isSure: true };
    const report = (what: string, how: string): void => {
      this.world.story.tell("program", () => `${what} -> ${how}`);
      this.mayHide ||= how.includes("out of the token's sight");
      const pool = /^VM \d+ \(demo-(.+)-\d+-[0-9a-f]{8}\) is in no state/.exec(what)?.[1];
      if (pool !== undefined && how.includes("raise the `rollout` counter of its pool")) {
        const slots = Number(/give pool .* (\d+) slots again/.exec(how)?.[1] ?? 0);
        this.toRaise.set(pool, Math.max(slots, this.toRaise.get(pool) ?? 0));
        this.moveData(what.split(/[()]/)[1] ?? "");
      }
      const left = /\b[Dd]estroy VM (\d+) .*by hand/.exec(how)?.[1];
      if (left !== undefined && this.destroysByHand) this.destroyByHand(Number(left));
      // The operator knows whether there was ever a cluster.
      const unheard = how.includes("If no server has ever joined, destroy the VM by hand") ? what : "";
      const isFirst = this.world.cluster.control.etcd.members.length === 0;
      if (isFirst && this.destroysByHand) this.destroyByHand(Number(/^VM (\d+) /.exec(unheard)?.[1]));
    };
    await mend(this.books, { pve, config, observed }, { asked, fence, report });
    this.deleting.clear();
  }

  /** The operator moves the data that only this node can reach. */
  private moveData(node: string): void {
    const { cluster } = this.world;
    for (const { metadata } of volumesOn(cluster, node)) cluster.objects.remove("persistentvolumes", metadata.name);
  }

  private destroyByHand(vmid: number): void {
    const { dc, watcher } = this.world;
    const vm = dc.vms.get(vmid);
    const by = current.getStore();
    if (vm === undefined || by === undefined) return;
    this.world.story.tell("operator", () => `destroys VM ${vmid} (${vm.name})`);
    this.moveData(vm.name);
    watcher.destroyed(vm, by);
    dc.vms.delete(vmid);
  }

  /** What `evergreen repair` reads and changes in the state. */
  private readonly books: Books = {
    readState: () => {
      const known = ([urn, { vm }]: [string, Resource]): KnownVm[] =>
        vm ? [{ ...vm, urn, ...(this.hasClaimed(urn) ? { claimed: true as const } : {}) }] : [];
      const all = [...this.state];
      return Promise.resolve({
        pending: [...this.pending.values()].map(({ name, vmid }) => ({
          urn: name,
          type: VM_TYPE,
          inputs: { name, vmId: vmid },
        })),
        deleting: all.filter(([urn]) => this.deleting.has(urn)).flatMap(known),
        vms: all.flatMap(known),
        unfinished: all.filter(([urn, { unfinished }]) => unfinished && !this.hasClaimed(urn)).flatMap(known),
        root: ["stack"],
      });
    },
    refresh: (adopted, urns) => {
      const { dc } = this.world;
      for (const { urn } of adopted) {
        const vm = this.pending.get(urn);
        if (vm) this.state.set(urn, { vm });
      }
      this.pending.clear();
      const refreshed = [...this.state].filter(
        ([urn]) => adopted.length > 0 || urns.length === 0 || urns.includes(urn),
      );
      for (const [urn, { vm }] of refreshed) {
        if (vm && dc.silent.has(dc.vms.get(vm.vmid)?.host ?? ""))
          return Promise.reject(new Error("Network is unreachable"));
        if (vm && !dc.vms.has(vm.vmid)) this.state.delete(urn);
      }
      return Promise.resolve();
    },
    refreshOnly: (urns) => {
      for (const urn of urns) {
        const known = this.state.get(urn);
        const now = known?.vm && this.world.dc.vms.get(known.vm.vmid);
        if (known?.vm && now) this.state.set(urn, { ...known, vm: { ...known.vm, host: now.host } });
      }
      return Promise.resolve();
    },
  };

  /** Forgets VMs that are gone and were no members, as `npx pulumi up` has the engine do. */
  private forget(observed: ObservedCluster): void {
    const gone = [...this.state].flatMap(([urn, { vm }]) =>
      vm && !this.world.dc.vms.has(vm.vmid) ? [{ ...vm, urn }] : [],
    );
    if (mayForget(gone, observed)) for (const { urn } of gone) this.state.delete(urn);
  }

  /**
   * Creates and updates in parallel, as far as the edges allow. After a failure nothing more begins.
   * @returns whether all succeeded
   */
  private async make(declared: readonly PoolResource[], killer: Killer): Promise<boolean> {
    const all = new Map(declared.map((one) => [one.name, one]));
    const results = new Map<string, Promise<boolean>>();
    let failed = false;
    const result = (urn: string): Promise<boolean> => {
      const begun = results.get(urn) ?? begin(urn);
      results.set(urn, begun);
      return begun;
    };
    const begin = async (urn: string): Promise<boolean> => {
      const one = all.get(urn);
      const edges = one?.after.filter((urn) => this.world.ordered || !urn.endsWith("-handover")) ?? [];
      const before = await Promise.all(edges.map(result));
      if (one === undefined || failed || killer.stopping || !before.every(Boolean)) return false;
      const well = await this.one(one, killer);
      failed ||= !well;
      return well;
    };
    for (const { name } of declared) void result(name);
    return (await Promise.all(results.values())).every(Boolean);
  }

  private async one(declared: PoolResource, killer: Killer): Promise<boolean> {
    const { name: urn } = declared;
    const known = this.state.get(urn);
    if (declared.kind === "step") return await this.runStep(declared, killer);
    if (known) return true;
    if (declared.kind === "keptVm") return this.report(urn, { how: "failed", error: new Error("its number is taken") });
    const { vmid, vm, generation } = declared.node;
    const made = { name: urn, vmid, host: vm.host };
    this.pending.set(urn, made);
    const { image } = generation.spec;
    const ending = await this.start(`clone-${urn}`, killer, (by) => this.provider.create(by, made, image));
    // The engine outlives a plugin that is killed, and keeps nothing of its operation.
    if (!killer.engineDead) this.pending.delete(urn);
    const isHalf = ending.how === "failed" && ending.error instanceof Unconfigured;
    if (ending.how === "done" || isHalf)
      this.state.set(urn, { vm: made, ...(isHalf ? { unfinished: true as const } : {}) });
    return this.report(urn, ending);
  }

  private async runStep(declared: StepResource, killer: Killer): Promise<boolean> {
    const { name: urn, verb, deleteVerb, rollout, madeVm, frozen } = declared;
    const known = this.state.get(urn)?.step;
    if (frozen && known) return true;
    const token = rollout === undefined ? undefined : this.state.get(rollout)?.step?.stdout;
    const made = madeVm === undefined ? undefined : this.state.get(madeVm)?.vm?.vmid;
    const environment = {
      ...declared.environment,
      ...(token === undefined ? {} : { [variables.rollout]: token }),
      ...(made === undefined ? {} : { [variables.madeVmid]: String(made) }),
    };
    if (known && same(known.environment, environment)) return true;
    if (this.world.skips(urn)) return true;
    this.ran.push(urn);
    const ending = await this.step(urn, verb, environment, known?.stdout ?? "", killer);
    if (ending.how === "done") {
      const step = { environment, stdout: JSON.stringify(ending.value), ...(deleteVerb ? { deleteVerb } : {}) };
      this.state.set(urn, { step });
    }
    return this.report(urn, ending);
  }

  /**
   * Deletes what is no longer declared: of each VM the join, the claim and then the VM, as far as the state has them.
   */
  private async remove(declared: readonly PoolResource[], killer: Killer): Promise<boolean> {
    const wanted = new Set(declared.map(({ name }) => name));
    const gone = [...this.state].filter(([urn]) => !wanted.has(urn));
    const results = gone.map(async ([urn, { vm, step }]) => {
      if (vm)
        return (
          (await this.undo(`${urn}-join`, killer)) &&
          (await this.undo(`${urn}-claim`, killer)) &&
          (await this.destroy(urn, vm, killer))
        );
      // Of a kept VM only the join is deleted.
      if (urn.endsWith("-join") && wanted.has(urn.replace(/-join$/, ""))) return await this.undo(urn, killer);
      // A step without a delete verb is only removed from the state.
      if (step && step.deleteVerb === undefined) this.state.delete(urn);
      return true;
    });
    return (await Promise.all(results)).every(Boolean);
  }

  private async undo(urn: string, killer: Killer): Promise<boolean> {
    const step = this.state.get(urn)?.step;
    if (step?.deleteVerb === undefined) return true;
    const ending = await this.step(urn, step.deleteVerb, step.environment, step.stdout, killer);
    if (ending.how === "done") this.state.delete(urn);
    return this.report(urn, ending);
  }

  private async destroy(urn: string, vm: MadeVm, killer: Killer): Promise<boolean> {
    if (killer.stopping) return false;
    this.deleting.add(urn);
    const ending = await this.start(`destroy-${urn}`, killer, (by) => this.provider.destroy(by, vm));
    if (!killer.engineDead) this.deleting.delete(urn);
    if (ending.how === "done") this.state.delete(urn);
    return this.report(urn, ending);
  }

  private step(
    urn: string,
    verb: string,
    environment: Environment,
    previous: string,
    killer: Killer,
  ): Promise<Ending<object>> {
    return this.start(`${verb}-${urn.replace(/-(claim|join|handover)$/, "")}`, killer, (process) => {
      const { id, stop } = process;
      const abandon = (why: Error) => process.abandon(why);
      const asks = () => {
        if (!this.mayUpdate(process.name)) return Promise.reject(new LeaseLost("update", "by a test"));
        process.hasUpdate = true;
        return Promise.resolve(granted);
      };
      const update = this.world.locked ? { update: asks } : {};
      const context: StepContext = { pve: proxmox(), id, stop, abandon, ...update, previous };
      const work = verbs[verb];
      if (!work) throw new Error(`no verb ${verb}`);
      return work(context, { ...environment });
    });
  }

  private async start<T>(name: string, killer: Killer, work: (process: Process) => Promise<T>): Promise<Ending<T>> {
    const process = this.world.process(name);
    killer.started(process);
    const ending = await process.run(() => work(process));
    // A dead engine writes no state, whatever its orphaned steps achieve.
    return killer.engineDead ? { how: "killed" } : ending;
  }

  private report<T>(urn: string, ending: Ending<T>): boolean {
    if (ending.how === "done") return true;
    const why = `${urn}: ${ending.how === "failed" ? messageOf(ending.error).replaceAll("\n", " | ") : "killed"}`;
    if (ending.how === "failed") this.why ||= why;
    this.world.story.tell("engine", () => why);
    return false;
  }
}

/** The resources that a run declares, in an order in which all dependencies of a resource come before it. */
function declare(config: Config, prepared: Prepared): PoolResource[] {
  const { controlPlane, pools, removed } = prepared.clusterPlan;
  const of = (plan: PoolPlan, before: string[]): PoolResource[] =>
    poolGraph(poolArgs(config, prepared, plan)).map((one) => ({
      ...one,
      after: one.after.flatMap((name) => (name === BEFORE_POOL ? before : [name])),
    }));
  const servers = verifyOf(config.cluster, controlPlane.pool);
  return [...of(controlPlane, []), ...[...pools, ...removed].flatMap((plan) => of(plan, [servers]))];
}

function same(a: Environment, b: Environment): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** A Proxmox client for the process that calls this. */
export function proxmox(): Proxmox {
  return new Proxmox({
    endpoint: "https://pve.example:8006",
    token: "eg@pve!sim=00000000-0000-0000-0000-000000000000",
  });
}
