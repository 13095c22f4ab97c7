import { messageOf } from "../../src/runtime/errors.ts";
import { stepSite, type Config } from "../../src/config/config.ts";
import { renderClusterPlan, type ClusterPlan } from "../../src/program/cluster-plan.ts";
import { LeaseLost, type Fence } from "../../src/clients/kubernetes/lease.ts";
import { observeCluster } from "../../src/observe/observed-cluster.ts";
import { Proxmox } from "../../src/clients/proxmox/client.ts";
import { environmentOf, variables } from "../../src/domain/model/step-environment.ts";
import type { PoolResource, StepResource } from "../../src/domain/rollout/graph.ts";
import { prepare, type Prepared } from "../../src/program/prepare.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { verbs } from "../../src/steps/verbs.ts";
import { Chance } from "./chance.ts";
import { declare } from "./declare.ts";
import { destroyAll } from "./destroy.ts";
import { Killer } from "./killer.ts";
import type { Ending, Process } from "./process.ts";
import { Provider, Unconfigured, type MadeVm } from "./provider.ts";
import { Repairs } from "./repairs.ts";
import { State } from "./state.ts";
import type { World } from "./world.ts";

export type Outcome = "done" | "failed" | "refused" | "killed";

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
  private readonly cluster: string;
  /** Whether it runs a destroy. */
  private destroys = false;
  readonly state: State;
  readonly repairs: Repairs;
  /** Whether a step finds that its engine still has the lease of the update. */
  mayUpdate: (step: string) => boolean = () => true;
  /** The plan of the last run. */
  clusterPlan: ClusterPlan | undefined;
  /** Called with the plan of a run before it makes anything. */
  onPlanned: (plan: ClusterPlan) => void = () => undefined;
  /** Steps that the last run started. */
  ran: string[] = [];
  /** The first failure of the last run. */
  why = "";

  constructor(world: World, cluster: string) {
    this.world = world;
    this.cluster = cluster;
    this.provider = new Provider(world, cluster);
    this.state = new State(world.dc);
    this.repairs = new Repairs(world, this.state);
  }

  /**
   * Runs `evergreen repair`, with an operator who does what it says.
   * @returns the pools whose content the operator is to change, and the slots that they have to have then
   */
  async repairByHand(config: Config): Promise<Map<string, number>> {
    const { repairs, world } = this;
    repairs.toRaise.clear();
    this.why = "";
    const ending = await this.start("program-repair", new Killer(world, new Chance(world.seed, "repair")), () =>
      repairs.repair(proxmox(), config, "by hand"),
    );
    this.report("the repair", ending);
    const said = ending.how === "failed" ? messageOf(ending.error) : "";
    return (await repairs.obey(said)) ? await this.repairByHand(config) : new Map(repairs.toRaise);
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
    if (outcome === "done") {
      this.world.etcdWatcher.runDone(servers);
      this.world.watcher.runDone();
    }
    return outcome;
  }

  /** Runs `pulumi destroy`. */
  async destroy(killer: Killer): Promise<Outcome> {
    this.why = "";
    this.destroys = true;
    this.state.forgetMissing();
    const deletes = destroyAll(this.state, this.cluster, {
      unguard: () => this.deleteGuard(killer),
      undo: (urn) => this.undo(urn, killer),
      destroyVm: (urn, vm) => this.destroyVm(urn, vm, killer),
      isStopping: () => killer.stopping,
    });
    const ended = deletes.then((isDone): Outcome => (isDone ? "done" : "failed"));
    const outcome = await Promise.race([ended, killer.engineDied.then((): Outcome => "killed")]);
    this.destroys = false;
    this.world.story.tell("engine", () => `the destroy is ${outcome}`);
    return outcome;
  }

  private async deleteGuard(killer: Killer): Promise<boolean> {
    const { state } = this;
    const ending = await this.step(`${this.cluster}-guard`, "unguard", state.guard ?? {}, "", killer);
    if (ending.how === "done") {
      state.guard = undefined;
      state.hasLostGuard = true;
    }
    return this.report(`${this.cluster}-guard`, ending);
  }

  /** The guard comes after everything that an update makes. It is not run again where nothing has become of it. */
  private async makeGuard(config: Config, killer: Killer): Promise<boolean> {
    const { cluster, allowDestroy } = config;
    const environment = environmentOf({ cluster, site: stepSite(config), allowDestroy });
    const name = `${cluster}-guard`;
    if (this.state.hasLostGuard && !this.report(name, await this.step(name, "guard", environment, "", killer)))
      return false;
    this.state.guard = environment;
    this.state.hasLostGuard = false;
    return true;
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
    this.onPlanned(clusterPlan);
    for (const line of renderClusterPlan(clusterPlan)) this.world.story.tell("plan", () => line);
    const declared = declare(config, program.value);
    if (!(await this.make(declared, killer))) return "failed";
    if (!(await this.makeGuard(config, killer))) return "failed";
    return (await this.remove(declared, killer)) ? "done" : "failed";
  }

  /** What index.ts and `evergreen repair` do before any resource is declared. */
  private async program(config: Config): Promise<Prepared> {
    const pve = proxmox();
    await this.repairs.mendBefore(pve, config);
    const observed = await observeCluster(pve, config);
    this.state.forgetGone(observed);
    const say = (line: string): void => this.world.story.tell("program", () => line);
    return await prepare({ pve, config, observed, isPreview: false, say, warn: say });
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
    const known = this.state.resources.get(urn);
    if (declared.kind === "step") return await this.runStep(declared, killer);
    if (known) return true;
    if (declared.kind === "keptVm") return this.report(urn, { how: "failed", error: new Error("its number is taken") });
    const { vmid, vm, generation } = declared.node;
    const made = { name: urn, vmid, host: vm.host };
    this.state.pending.set(urn, made);
    const { image } = generation.spec;
    const ending = await this.start(`clone-${urn}`, killer, (by) => this.provider.create(by, made, image));
    // The engine outlives a plugin that is killed, and keeps nothing of its operation.
    if (!killer.engineDead) this.state.pending.delete(urn);
    const isHalf = ending.how === "failed" && ending.error instanceof Unconfigured;
    if (ending.how === "done" || isHalf)
      this.state.resources.set(urn, { vm: made, ...(isHalf ? { unfinished: true as const } : {}) });
    return this.report(urn, ending);
  }

  private async runStep(declared: StepResource, killer: Killer): Promise<boolean> {
    const { name: urn, verb, deleteVerb, rollout, madeVm, frozen } = declared;
    const known = this.state.resources.get(urn)?.step;
    if (frozen && known) return true;
    const token = rollout === undefined ? undefined : this.state.resources.get(rollout)?.step?.stdout;
    const made = madeVm === undefined ? undefined : this.state.resources.get(madeVm)?.vm?.vmid;
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
      this.state.resources.set(urn, { step });
    }
    return this.report(urn, ending);
  }

  /**
   * Deletes what is no longer declared: of each VM the join, the claim and then the VM, as far as the state has them.
   */
  private async remove(declared: readonly PoolResource[], killer: Killer): Promise<boolean> {
    const wanted = new Set(declared.map(({ name }) => name));
    const gone = [...this.state.resources].filter(([urn]) => !wanted.has(urn));
    const results = gone.map(async ([urn, { vm, step }]) => {
      if (vm)
        return (
          (await this.undo(`${urn}-join`, killer)) &&
          (await this.undo(`${urn}-claim`, killer)) &&
          (await this.destroyVm(urn, vm, killer))
        );
      // Of a kept VM only the join is deleted.
      if (urn.endsWith("-join") && wanted.has(urn.replace(/-join$/, ""))) return await this.undo(urn, killer);
      // A step without a delete verb is only removed from the state.
      if (step && step.deleteVerb === undefined) this.state.resources.delete(urn);
      return true;
    });
    return (await Promise.all(results)).every(Boolean);
  }

  private async undo(urn: string, killer: Killer): Promise<boolean> {
    const step = this.state.resources.get(urn)?.step;
    if (step?.deleteVerb === undefined) return true;
    const ending = await this.step(urn, step.deleteVerb, step.environment, step.stdout, killer);
    if (ending.how === "done") this.state.resources.delete(urn);
    return this.report(urn, ending);
  }

  private async destroyVm(urn: string, vm: MadeVm, killer: Killer): Promise<boolean> {
    if (killer.stopping) return false;
    this.state.deleting.add(urn);
    const ending = await this.start(`destroy-${urn}`, killer, (by) => this.provider.destroy(by, vm));
    if (!killer.engineDead) this.state.deleting.delete(urn);
    if (ending.how === "done") this.state.resources.delete(urn);
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
      const mayTearDown = process.isOfDestroy;
      const context: StepContext = { pve: proxmox(), id, stop, abandon, ...update, mayTearDown, previous };
      const work = verbs[verb];
      if (!work) throw new Error(`no verb ${verb}`);
      return work(context, { ...environment });
    });
  }

  private async start<T>(name: string, killer: Killer, work: (process: Process) => Promise<T>): Promise<Ending<T>> {
    const process = this.world.process(name);
    process.isOfDestroy = this.destroys;
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
