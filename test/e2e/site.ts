import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Workspace } from "../../cli/demo/workspace.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import { parsePoolRecord, parseSlotRecord } from "../../src/clients/kubernetes/record-format.ts";
import { labels } from "../../src/domain/model/formats.ts";
import { Family } from "../../lab/family.ts";
import { Kube, readKubeconfig } from "../../lab/kube.ts";
import { startLab, type Lab } from "../../lab/lab.ts";
import type { LabOptions } from "../../lab/site.ts";
import type { GenerationState, PoolRecord } from "../../src/domain/model/types.ts";
import { toolchain } from "../../tools/index.ts";
import { denialPath, evictionDenial, evictionOfNobody } from "../lab/support/evictions.ts";
import { labOptions, startLoad } from "../lab/support/start.ts";

export interface Ran {
  code: number | null;
  output: string;
}

/** A process of a site that runs. */
export interface Running {
  child: ChildProcess;
  pid: number;
  /** What it has said so far. */
  said: () => string;
  ended: Promise<Ran>;
}

/** Waits until a process has said something. The longest waits are those for leases of killed runs. */
export async function untilSaid({ said }: Pick<Running, "said">, text: RegExp): Promise<void> {
  await new Deadline(`${text.source} to be said`, 200).poll(
    20,
    () => Promise.resolve(text.test(said()) ? true : undefined),
    said,
  );
}

/** Paths below a key of `evergreen:`, and what they shall be. */
export type Changes = Record<string, unknown>;

const leasesPath = "/apis/coordination.k8s.io/v1/namespaces/evergreen-system/leases";

const mapsPath = "/api/v1/namespaces/evergreen-system/configmaps";

const leaseOf = (name: string, spec: object): object => ({
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: { name },
  spec,
});

/** A ConfigMap of the record. */
interface RecordMap {
  metadata: { name: string };
  data?: Record<string, string>;
}

/** A lab of its own and a checkout of its own, driven as a user would drive them. */
export class Site {
  readonly lab: Lab;
  private readonly workspace: Workspace;
  private readonly environment: NodeJS.ProcessEnv;
  private readonly program: string;
  private readonly family: Family;

  private constructor(
    lab: Lab,
    workspace: Workspace,
    program: string,
    environment: NodeJS.ProcessEnv,
    family = new Family(),
  ) {
    this.lab = lab;
    this.workspace = workspace;
    this.program = program;
    this.environment = environment;
    this.family = family;
  }

  /**
   * @param prefix of the lab; every test file has one of its own
   * @param backend URL of the state's backend; by default the lab's own directory
   */
  static async create(
    prefix: string,
    more: Partial<LabOptions> = {},
    backend: (env: Lab["env"]) => string = (env) => env.PULUMI_BACKEND_URL,
  ): Promise<Site> {
    const tools = await toolchain({ quiet: true });
    const options = await labOptions(prefix, more);
    const lab = await startLab(options);
    const workspace = await Workspace.create(join(dirname(options.directory), "project"), prefix);
    const environment = { ...tools.environment(), ...lab.env, PULUMI_BACKEND_URL: backend(lab.env) };
    const site = new Site(lab, workspace, tools.pulumi, environment);
    await site.expect(0, "stack", "init", "dev");
    return site;
  }

  /** The checkout. */
  get project(): string {
    return this.workspace.directory;
  }

  /** The same lab from a copy of the checkout in another place. @param more who looks at it, as `HOME` and `USER` */
  async elsewhere(more: NodeJS.ProcessEnv): Promise<Site> {
    const directory = join(dirname(this.lab.directory), "another place", "checkout");
    await cp(this.project, directory, { recursive: true, verbatimSymlinks: true });
    const environment = { ...this.environment, ...more };
    return new Site(this.lab, new Workspace(directory), this.program, environment, this.family);
  }

  /** Starts the engine and leaves it running. */
  start(args: readonly string[], more: NodeJS.ProcessEnv = {}): Running {
    return this.spawn(this.program, [...args, "--non-interactive"], more);
  }

  async pulumi(args: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return this.start(args, more).ended;
  }

  /** Runs the engine and expects an exit code. @returns its output */
  async expect(code: number, ...args: string[]): Promise<string> {
    const ran = await this.pulumi(args);
    if (ran.code !== code) throw new Error(`pulumi ${args.join(" ")} ended with ${ran.code}:\n${ran.output}`);
    return ran.output;
  }

  /** `pulumi up`, which must succeed. */
  async up(): Promise<string> {
    return this.expect(0, "up", "--yes", "--skip-preview", "--stack", "dev");
  }

  /** `pulumi up`, which must find nothing to do. */
  async unchanged(): Promise<string> {
    return this.expect(0, "up", "--yes", "--skip-preview", "--stack", "dev", "--expect-no-changes");
  }

  /** `pulumi up`, which must fail. @returns what it said */
  async fails(): Promise<string> {
    const { code, output } = await this.pulumi(["up", "--yes", "--skip-preview", "--stack", "dev"]);
    if (code === 0) throw new Error(`pulumi up succeeded:\n${output}`);
    return output;
  }

  /** `evergreen ...` of the checkout. */
  async evergreen(...args: string[]): Promise<Ran> {
    return this.startEvergreen(...args).ended;
  }

  /** Starts `evergreen ...` of the checkout and leaves it running. */
  startEvergreen(...args: string[]): Running {
    return this.startEvergreenWith({}, ...args);
  }

  /** The same with more in its environment. */
  startEvergreenWith(more: NodeJS.ProcessEnv, ...args: string[]): Running {
    return this.spawn(process.execPath, [join(this.project, "cli", "bin", "evergreen.mjs"), ...args], more);
  }

  /** `npx pulumi ...` of the checkout. */
  async launcher(...args: string[]): Promise<Ran> {
    return this.startLauncher(args).ended;
  }

  /** Starts `npx pulumi ...` of the checkout and leaves it running; it becomes the engine. */
  startLauncher(args: readonly string[], more: NodeJS.ProcessEnv = {}): Running {
    return this.spawn(process.execPath, [join(this.project, "cli", "bin", "pulumi.mjs"), ...args], more);
  }

  /** Starts a step as the engine would, with the environment of one that it had started. */
  startStep(verb: string, environment: NodeJS.ProcessEnv): Running {
    return this.spawn(join(this.project, "bin", "step"), [verb], environment);
  }

  /** Changes the stack's configuration, as `pools.0.image`, and commits it; `undefined` removes a key. */
  async configure(changes: Changes): Promise<void> {
    await this.workspace.change(changes);
  }

  /** The state as the engine keeps it. */
  async state(): Promise<{
    resources?: { urn: string; type: string; outputs?: Record<string, unknown> }[];
    pending_operations?: { type: string }[];
  }> {
    const text = await this.expect(0, "stack", "export", "--stack", "dev");
    return (JSON.parse(text) as { deployment: Awaited<ReturnType<Site["state"]>> }).deployment;
  }

  /** Puts the workload on the cluster and begins to count its requests. */
  async load(options?: Parameters<typeof startLoad>[1]): Promise<void> {
    await startLoad(this.lab, options);
  }

  /** Waits until every pod of the workload is ready. */
  async calm(): Promise<void> {
    await new Deadline("the workload to be ready", 120).poll(100, async () => {
      const { load } = await this.lab.status;
      return load?.ready === load?.wanted ? true : undefined;
    });
  }

  /** Names of the node VMs that exist, of a pool. */
  async vms(pool: string): Promise<string[]> {
    const { vms } = await this.lab.status;
    return vms
      .filter((vm) => vm.tags.includes(`eg-pool-${pool}`))
      .map((vm) => vm.name)
      .sort();
  }

  /** What the cluster remembers of a pool. */
  async record(pool: string): Promise<PoolRecord> {
    const { own, slots } = await this.facts(pool);
    const nodes = slots.flatMap(({ metadata, data = {} }) => parseSlotRecord(pool, metadata.name, data));
    return { ...parsePoolRecord(pool, own?.data ?? {}), nodes };
  }

  /** Has a generation in a state, as if a run had judged it. */
  async judge(pool: string, id: string, state: GenerationState): Promise<void> {
    const key = `generation.${id}`;
    const { own } = await this.facts(pool);
    const fact = { ...(JSON.parse(own?.data?.[key] ?? "") as object), state, why: "another run has judged it" };
    const change = { data: { [key]: JSON.stringify(fact) } };
    const { status } = await this.withKube((kube) => kube.call("PATCH", `${mapsPath}/pool-${pool}`, change));
    if (status !== 200) throw new Error(`${id} could not be judged: ${status}`);
  }

  /** Makes all that is remembered of a pool older, and since when its nodes are Ready, as if the time had passed. */
  async age(pool: string, seconds: number): Promise<void> {
    const older = (time: string) => new Date(Date.parse(time) - seconds * 1000).toISOString();
    const { own, slots } = await this.facts(pool);
    for (const { metadata, data = {} } of own ? [own, ...slots] : slots) {
      // A healing is told from another by its time, and the schema has none.
      const facts = Object.entries(data).filter(([key]) => key !== "healing" && key !== "schema");
      const aged = facts.map(([key, text]) => {
        const fact = JSON.parse(text) as { since: string; boot?: { id: string; since: string } };
        const boot = fact.boot && { boot: { ...fact.boot, since: older(fact.boot.since) } };
        return [key, JSON.stringify({ ...fact, since: older(fact.since), ...boot })];
      });
      const change = { data: Object.fromEntries(aged) as object };
      const { status } = await this.withKube((kube) => kube.call("PATCH", `${mapsPath}/${metadata.name}`, change));
      if (status !== 200) throw new Error(`the record ${metadata.name} could not be changed: ${status}`);
    }
    await this.withKube((kube) => ageNodes(kube, pool, older));
  }

  /** Makes the next join tokens of ours worthless as soon as they exist, as if their time were over. */
  async expireTokens(count: number): Promise<void> {
    const path = "/api/v1/namespaces/kube-system/secrets";
    const ours = `${path}?labelSelector=${encodeURIComponent("app.kubernetes.io/managed-by=evergreen")}`;
    const expired = new Set<string>();
    await this.withKube((kube) =>
      new Deadline(`${count} join tokens`, 60).poll(20, async () => {
        const { body } = await kube.call<{ items?: { metadata: { name: string } }[] }>("GET", ours);
        for (const { metadata } of body.items ?? []) {
          await kube.call("DELETE", `${path}/${metadata.name}`);
          expired.add(metadata.name);
        }
        return expired.size >= count ? true : undefined;
      }),
    );
  }

  /** Lets every lease that nobody renews run out a second after it is looked at, as if most of the time had passed. */
  async expireLeases(): Promise<void> {
    const spec = { leaseDurationSeconds: 1 };
    for (const name of await this.leases())
      await this.withKube((kube) => kube.call("PATCH", `${leasesPath}/${name}`, { spec }));
  }

  /** Names of the leases that exist, held or not. */
  async leases(): Promise<string[]> {
    const { body } = await this.withKube((kube) =>
      kube.call<{ items?: { metadata: { name: string } }[] }>("GET", leasesPath),
    );
    return (body.items ?? []).map(({ metadata }) => metadata.name);
  }

  /** What a lease says; undefined: there is none. */
  async lease(name: string): Promise<{ holderIdentity?: string } | undefined> {
    const { body } = await this.withKube((kube) =>
      kube.call<{ spec?: { holderIdentity?: string } }>("GET", `${leasesPath}/${name}`),
    );
    return body.spec;
  }

  /** Gives a lease to somebody else, by force. @param holder empty: to nobody */
  async giveLease(name: string, holderIdentity: string): Promise<void> {
    const path = `${leasesPath}/${name}`;
    if (holderIdentity === "") await this.withKube((kube) => kube.call("DELETE", path));
    else {
      const spec = {
        holderIdentity,
        leaseDurationSeconds: 60,
        renewTime: new Date().toISOString().replace("Z", "000Z"),
      };
      const { status } = await this.withKube((kube) => kube.call("PATCH", path, { spec }));
      if (status === 404) await this.withKube((kube) => kube.call("POST", leasesPath, leaseOf(name, spec)));
    }
  }

  /** Has the API server refuse every eviction in a namespace: nodes with pods of it are not emptied until that is over. */
  async denyEvictions(namespace: string): Promise<void> {
    for (const [collection, object] of evictionDenial(namespace)) {
      const { status } = await this.withKube((kube) => kube.call("POST", collection, object));
      // The binding outlives its policy.
      if (status !== 201 && status !== 409) throw new Error(`evictions could not be denied: ${status}`);
    }
    await this.awaitEvictionAnswer(namespace, 422);
  }

  async allowEvictions(namespace: string): Promise<void> {
    await this.withKube((kube) => kube.call("DELETE", denialPath));
    await this.awaitEvictionAnswer(namespace, 404);
  }

  private async awaitEvictionAnswer(namespace: string, wanted: number): Promise<void> {
    const { path, object } = evictionOfNobody(namespace);
    await this.withKube((kube) =>
      new Deadline(`evictions to be answered with ${wanted}`, 60).poll(200, async () => {
        const { status } = await kube.call("POST", path, object);
        return status === wanted ? true : undefined;
      }),
    );
  }

  /** The ConfigMap of a pool, and those of its slots. */
  private async facts(pool: string): Promise<{ own: RecordMap | undefined; slots: RecordMap[] }> {
    return await this.withKube(async (kube) => {
      const own = await kube.call<RecordMap>("GET", `${mapsPath}/pool-${pool}`);
      const selector = encodeURIComponent(`evergreen.dev/pool=${pool}`);
      const { body } = await kube.call<{ items?: RecordMap[] }>("GET", `${mapsPath}?labelSelector=${selector}`);
      return { own: own.status === 200 ? own.body : undefined, slots: body.items ?? [] };
    });
  }

  /** Asks the cluster as its administrator. */
  async withKube<T>(work: (kube: Kube) => Promise<T>): Promise<T> {
    const kube = new Kube(readKubeconfig(await readFile(this.lab.env.KUBECONFIG, "utf8")));
    try {
      return await work(kube);
    } finally {
      await kube.close();
    }
  }

  /** Waits until something is so in the lab. */
  async until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    await new Deadline(what, 120).poll(50, async () => ((await isSo()) ? true : undefined));
  }

  /** What has been violated, failed or left since the load began; empty when all is well. */
  async complaints(): Promise<string[]> {
    await this.lab.call("POST /watcher/finish", { seconds: 20 });
    return this.disturbances();
  }

  /** The same in the middle of things: after a failed run something is left, and may be. */
  async disturbances(): Promise<string[]> {
    const { probe, violations } = await this.lab.status;
    return [
      ...violations.map((violation) => JSON.stringify(violation)),
      ...(probe.failed > 0 ? [`${probe.failed} of ${probe.requests} requests failed: ${JSON.stringify(probe)}`] : []),
    ];
  }

  /** Ends all that it has started, also what has outlived its engine, and removes the lab and the checkout. */
  async close(): Promise<void> {
    await this.family.kill();
    await this.lab.stop();
    await rm(dirname(this.lab.directory), { recursive: true, force: true, maxRetries: 5 });
  }

  private spawn(program: string, args: readonly string[], more: NodeJS.ProcessEnv): Running {
    const child = spawn(program, args, {
      cwd: this.project,
      env: { ...this.environment, ...more, ...this.family.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    const ended = once(child, "exit").then(([code]) => ({ code: code as number | null, output }));
    if (child.pid === undefined) throw new Error(`${program} did not start`);
    return { child, pid: child.pid, said: () => output, ended };
  }
}

/** Makes the conditions of a pool's nodes older; their kubelets write them only when they change. */
async function ageNodes(kube: Kube, pool: string, older: (time: string) => string): Promise<void> {
  const path = `/api/v1/nodes?labelSelector=${encodeURIComponent(`${labels.pool}=${pool}`)}`;
  const { body } = await kube.call<{ items: NodeConditions[] }>("GET", path);
  for (const { metadata, status } of body.items) {
    const conditions = status.conditions.map((one) => ({ ...one, lastTransitionTime: older(one.lastTransitionTime) }));
    const changed = await kube.call("PATCH", `/api/v1/nodes/${metadata.name}/status`, { status: { conditions } });
    if (changed.status !== 200) throw new Error(`the Node ${metadata.name} could not be changed: ${changed.status}`);
  }
}

interface NodeConditions {
  metadata: { name: string };
  status: { conditions: { type: string; lastTransitionTime: string }[] };
}
