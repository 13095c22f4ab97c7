import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { Deadline } from "../src/runtime/deadline.ts";
import { UserError } from "../src/runtime/errors.ts";
import { poolSpecs, type Config } from "../src/config/config.ts";
import type { LabStatus } from "../lab/control.ts";
import { type Lab, readDaemon, startLab, stopLab } from "../lab/lab.ts";
import { identify } from "../lab/processes.ts";
import { workloadDefaults } from "../lab/load/workload.ts";
import { durationsOf, lowerBound } from "../lab/lower-bound.ts";
import { profiles } from "../lab/profiles.ts";
import type { LabOptions } from "../lab/site.ts";
import { imageTags, vmTags } from "../src/domain/model/formats.ts";
import type { PoolSpec } from "../src/domain/model/types.ts";
import { toolchain } from "../tools/index.ts";
import { Progress } from "./demo/progress.ts";
import { type Contents, type Report, reportText, type Rollout, rolloutOf } from "./demo/report.ts";
import { Runner } from "./demo/runner.ts";
import { showWhile } from "./demo/stage.ts";
import { Workspace } from "./demo/workspace.ts";
import { checkPrefix, directoryOf, labBinaries } from "./lab.ts";

interface Options {
  /** Name of the demo's lab, which is not the lab that the user may have running. */
  name: string;
  report?: string;
  keep?: boolean;
  profile: LabOptions["profile"];
  prefix: string;
}

const oldImage = "ubuntu-24.04-rke2-v1.0.0";
const newImage = "ubuntu-24.04-rke2-v1.1.0";

/** `evergreen demo`: makes a cluster in a lab, rolls it forwards and back, and shows the progress. */
export function demoCommand(program: Command): void {
  program
    .command("demo")
    .description("start a lab, roll a cluster forwards and back under load, and show what happened")
    .option("--report <file>", "write the result as JSON")
    .option("--keep", "keep the lab and the cluster running")
    .option("--name <name>", "name of the lab", "demo")
    .option("--prefix <octets>", "first two octets of the lab's addresses", "127.41")
    .addOption(
      new Option("--profile <name>", "how fast the lab's hardware is")
        .choices(["fast", "nvme", "ceph"])
        .default("fast"),
    )
    .action(async (options: Options) => {
      process.exitCode = await runDemo(options);
    });
}

/** @returns the exit code: 0 when no invariant was violated and no request failed */
async function runDemo(options: Options): Promise<number> {
  const { name } = options;
  checkPrefix(options.prefix);
  refuseSecond(name);
  const abort = new AbortController();
  const interrupted = (signal: NodeJS.Signals) => {
    if (abort.signal.aborted) return;
    progress.note(`${signal}: cleaning up`);
    abort.abort(new Interrupted(signal));
  };
  const progress = new Progress();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupted);
  try {
    const stage = await Stage.open(options, progress, abort.signal);
    const { report, contents } = await stage.runAll();
    if (options.report !== undefined)
      await writeFile(resolve(options.report), `${JSON.stringify(report, undefined, 2)}\n`);
    process.stdout.write(`\n${reportText(report, contents)}\n`);
    return await stage.readVerdict(report);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    return error.code;
  } finally {
    if (!options.keep || abort.signal.aborted) await stopLab(directoryOf(name));
    else progress.note(`kept: npx evergreen lab status --name ${name}; npx evergreen lab down --name ${name} ends it`);
  }
}

class Interrupted extends Error {
  readonly code: number;

  constructor(signal: NodeJS.Signals) {
    super(signal);
    this.code = signal === "SIGINT" ? 130 : signal === "SIGTERM" ? 143 : 129;
  }
}

function refuseSecond(name: string): void {
  if (readDaemon(directoryOf(name)) === undefined) return;
  throw new UserError({
    what: "the lab of an earlier demo is still there",
    where: directoryOf(name),
    todo: `end it: npx evergreen lab down --name ${name}`,
  });
}

/** One demo: the lab, the copy of the project, and the commands that run in it. */
class Stage {
  private readonly lab: Lab;
  private readonly workspace: Workspace;
  private readonly runner: Runner;
  private readonly progress: Progress;
  private readonly signal: AbortSignal;
  private readonly profile: LabOptions["profile"];
  private readonly probe = { requests: 0, failed: 0 };
  private readonly contents = new Map<string, { image: string; rke2: string }>();

  private constructor(
    lab: Lab,
    workspace: Workspace,
    runner: Runner,
    options: Options,
    progress: Progress,
    signal: AbortSignal,
  ) {
    this.lab = lab;
    this.workspace = workspace;
    this.runner = runner;
    this.profile = options.profile;
    this.progress = progress;
    this.signal = signal;
  }

  static async open(options: Options, progress: Progress, signal: AbortSignal): Promise<Stage> {
    const tools = await toolchain();
    signal.throwIfAborted();
    const { name, prefix, profile } = options;
    const directory = directoryOf(name);
    const binaries = labBinaries(tools);
    const site = { name, prefix, profile, version: "8.4", binaries, directory, load: "asked" } as const;
    // With an owner the lab ends with this process, even when the demo is killed.
    const lab = await startLab(options.keep ? site : { ...site, owner: identify(process.pid) });
    progress.note(`the lab is up: Proxmox VE at ${lab.env.PROXMOX_VE_ENDPOINT}, profile ${profile}`);
    const workspace = await Workspace.create(join(directory, "project"), prefix);
    const env = { ...tools.environment(), ...lab.env };
    const runner = new Runner(workspace.directory, env, join(directory, "demo.log"), signal);
    return new Stage(lab, workspace, runner, options, progress, signal);
  }

  async runAll(): Promise<{ report: Report; contents: Contents }> {
    await this.runner.run("pulumi", ["stack", "init", "dev"]);
    await this.workspace.useImage(oldImage);
    const up = ["up", "--yes", "--skip-preview", "--stack", "dev"];
    const created = await this.runAct("pulumi up creates the cluster", () => this.runner.run("pulumi", up));
    this.progress.note(`the cluster is there after ${created.toFixed(1)} s`);
    await this.startLoad();
    await this.workspace.useImage(newImage);
    const forwards = await this.roll(`pulumi up rolls the workers to ${newImage}`, () => this.runner.run("pulumi", up));
    const back = await this.roll("evergreen rollback returns them", () =>
      this.runner.run("evergreen", ["rollback", "--stack", "dev", "--yes"]),
    );
    const { vms } = await this.lab.status;
    return {
      report: {
        rollouts: [...forwards, ...back],
        probe: this.probe,
        vmsLeft: vms.filter((vm) => !vm.template).length,
        templatesLeft: vms.filter((vm) => vm.template).length,
      },
      contents: this.contents,
    };
  }

  /** Prints violated invariants and failed requests. @returns the exit code */
  async readVerdict({ probe }: Report): Promise<number> {
    const violations = await this.lab.call("POST /watcher/finish", { seconds: 5 });
    for (const { at, invariant, subject, evidence } of violations) {
      process.stdout.write(`violated at ${at}: ${invariant}: ${subject}: ${evidence}\n`);
    }
    const { workload, api } = (await this.lab.status).probe;
    for (const { at, target, reason } of [...workload.failures, ...api.failures]) {
      process.stdout.write(`failed at ${at}: ${target}: ${reason}\n`);
    }
    return violations.length > 0 || probe.failed > 0 ? 1 : 0;
  }

  private async runAct<T>(title: string, work: () => Promise<T>): Promise<T> {
    this.progress.note(title);
    return await showWhile(this.lab, this.progress, title, work);
  }

  private async startLoad(): Promise<void> {
    const deadline = new Deadline("the workload to serve", 60);
    await this.runAct("a workload is deployed and called all the time", async () => {
      await this.lab.call("POST /load", {});
      await deadline.poll(100, async () => {
        this.signal.throwIfAborted();
        const { load, probe } = await this.lab.status;
        return load && load.ready >= load.wanted && probe.workload.requests > 0 ? true : undefined;
      });
    });
    await this.lab.call("POST /probe/reset", undefined);
  }

  /** Rolls all pools of agents and measures the rollout. */
  private async roll(title: string, work: () => Promise<number>): Promise<Rollout[]> {
    const before = await this.lab.status;
    const pools = agentPools(await this.workspace.readStack(), before);
    await this.lab.call("POST /watcher/limits", limitsOf(pools));
    const evictedBefore = before.evicted;
    const seconds = await this.runAct(title, work);
    const after = await this.lab.status;
    this.probe.requests = after.probe.requests;
    this.probe.failed = after.probe.failed;
    const pdbViolations = count(after) - count(before);
    return pools.map((spec) => {
      const to = this.remember(after, spec.name);
      this.progress.note(`${spec.name}: ${to} after ${seconds.toFixed(1)} s`);
      return rolloutOf({
        pool: spec.name,
        from: this.remember(before, spec.name),
        to,
        seconds,
        lowerBoundSeconds: boundOf(spec, this.profile),
        evicted: after.evicted - evictedBefore,
        pdbViolations,
      });
    });
  }

  /** Records the content of a pool's generations. @returns the generations of its running VMs */
  private remember(status: LabStatus, pool: string): string {
    const vms = status.vms.filter((vm) => vm.running && vm.tags.includes(`${vmTags.pool}${pool}`));
    const generations = [...new Set(vms.map((vm) => tag(vm.tags, vmTags.generation)))];
    for (const vm of vms) {
      const kubelet = status.nodes.find((node) => node.name === vm.name)?.kubelet ?? "?";
      this.contents.set(tag(vm.tags, vmTags.generation), { image: vm.image ?? "?", rke2: kubelet });
    }
    return generations.join("+");
  }
}

const tag = (tags: readonly string[], prefix: string) =>
  tags.find((one) => one.startsWith(prefix))?.slice(prefix.length) ?? "";

const count = (status: LabStatus) => status.violations.filter(({ invariant }) => invariant === "budget").length;

/** The configured pools of agents, with the RKE2 versions of the lab's templates. */
function agentPools(config: Config, status: LabStatus): PoolSpec[] {
  const templates = status.vms.filter((vm) => vm.template);
  const images = new Map(templates.map((vm) => [vm.name, tag(vm.tags, imageTags.rke2)]));
  return poolSpecs(config, images).filter((spec) => spec.role === "agent");
}

function limitsOf(pools: readonly PoolSpec[]) {
  return Object.fromEntries(
    pools.map(({ name, slots, strategy: { surge, maxUnavailable } }) => [name, { slots, surge, maxUnavailable }]),
  );
}

function boundOf({ slots, strategy }: PoolSpec, profile: LabOptions["profile"]): number {
  const { surge, maxUnavailable, soakSeconds } = strategy;
  const { replicas: pods, maxUnavailable: allowed } = workloadDefaults;
  const shape = { agents: slots, surge, maxUnavailable, soakSeconds, workloads: [{ pods, allowed }] };
  return lowerBound(durationsOf(profiles[profile]), shape).seconds;
}
