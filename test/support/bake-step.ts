/** Bakes in an emulated data centre as the step does, in this process. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Agent, type Dispatcher } from "undici";
import { fast } from "../../lab/profiles.ts";
import type { Fault, Request } from "../../lab/proxmox/data-centre.ts";
import { site } from "../../lab/proxmox/site.ts";
import { Proxmox } from "../../src/clients/proxmox/client.ts";
import type { BakeOrder } from "../../src/domain/images/bake.ts";
import { digestOf } from "../../src/domain/images/definition.ts";
import type { Bake } from "../../src/domain/images/user-data.ts";
import { shellDigests } from "../../src/runtime/bake-shell.ts";
import { clock, useClock, type Clock } from "../../src/runtime/clock.ts";
import { useConnections } from "../../src/runtime/connections.ts";
import { prove, type ProvedImage } from "../../src/steps/verbs/prove.ts";
import type { ProofOrder } from "../../src/domain/images/proof.ts";
import { identityOf, notedRecord } from "../../src/domain/images/template-identity.ts";
import { trustProblems } from "../../src/domain/images/trust.ts";
import type { SigningKey, TrustedKey } from "../../src/evidence/bundle.ts";
import { readRecord } from "../../src/evidence/image-records.ts";
import { bake, type Baked } from "../../src/steps/verbs/bake.ts";
import { BakeLab, labBake } from "../lab/support/bake-site.ts";

/**
 * Time passes as fast as the waits go by: a wait takes milliseconds and counts in full. Guests have timers of their own, a
 * stage of a few looks each, so that no deadline depends on how fast the machine is.
 */
export class HastyClock implements Clock {
  private ahead = 0;
  readonly elapsed = (): number => performance.now() + this.ahead;
  readonly date = (): number => Date.now() + this.ahead;
  readonly sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
    const really = Math.min(ms, 5);
    await delay(really, undefined, signal ? { signal } : {});
    this.ahead += ms - really;
  };
  readonly timeout = (ms: number): AbortSignal => AbortSignal.timeout(ms);
  readonly later = (ms: number, task: () => void): (() => void) => {
    const timer = setTimeout(task, ms).unref();
    return () => clearTimeout(timer);
  };
}

/** The shortest times, so that hundreds of bakes fit into a test. */
const profile = { ...fast, boot: 10, fullClone: 10, cloneLock: 10, start: 5, shutdown: 5, destroy: 5, bakeStage: 6 };
const timing = { agentWait: 1, fork: 1, statusInterval: 0, lockWait: 200 };

/** Asked for each request of the token of bakes, before its effect and again after it. */
type IsAt = (moment: "before" | "after", request: Request) => boolean;

/** The same, of all that can happen to a request. */
export type Meets = (moment: "before" | "after", request: Request) => Fault | "kill" | undefined;

type Work = (context: { pve: Proxmox; stop: AbortSignal }) => Promise<unknown>;

/** A data centre in which steps bake; one for each test file. */
export class BakeStage {
  readonly lab: BakeLab;
  /** Folder for logs of bakes that failed. */
  readonly evidence: string;
  private readonly folder: string;
  private constructor(lab: BakeLab, folder: string) {
    this.lab = lab;
    this.folder = folder;
    this.evidence = join(folder, "bakes");
  }

  static async start(port: number, version: "8.4" | "9.2" = "8.4"): Promise<BakeStage> {
    const folder = mkdtempSync(join(tmpdir(), "evergreen-bake-step-"));
    mkdirSync(join(folder, "definition"));
    useClock(new HastyClock());
    return new BakeStage(await BakeLab.start(port, version, { profile, timing }), folder);
  }

  async stop(): Promise<void> {
    await this.lab.stop();
    useClock();
    rmSync(this.folder, { recursive: true });
  }

  /** An order of the lab's bake with other values. */
  order(changes: Partial<BakeOrder> = {}, its: Bake = labBake()): BakeOrder {
    const { definition, sources, shell } = its;
    return {
      ...{ definition, sources, vmid: 9100, range: { first: 9100, last: 9199 } },
      digest: digestOf(definition, shellDigests(shell)),
      folder: relative(process.cwd(), join(this.folder, "definition")),
      shell: "images/bake",
      base: `${site.imageStorage}:import/base-${definition.base.sha256.slice(0, 12)}.qcow2`,
      place: {
        ...{ host: site.node, pool: site.templates, storage: site.storage, imageStorage: site.imageStorage },
        ...{ bridge: site.bridge, cores: 2, memoryMiB: 4096 },
      },
      evidence: this.evidence,
      ...changes,
    };
  }

  /** An order to prove the template of that bake. */
  proofOrder(bake = this.order()): Omit<ProofOrder, "uuid"> {
    const records = join(this.folder, "records");
    return { bake, vmid: 9101, records, builder: { stack: "evergreen/dev", version: "0.1.0" } };
  }

  /** Folder of the definition. */
  get definition(): string {
    return join(this.folder, "definition");
  }

  /** Runs the step once. @param token id of the token that it has */
  async bake(order: BakeOrder, stop = new AbortController().signal): Promise<Baked> {
    return await bake({ pve: this.lab.bench.client(site.bakeToken), stop }, order);
  }

  /**
   * Runs the step in a process that is killed at a request: nothing that it sends after that reaches anybody.
   * @param isAt asked for each request of the token of bakes, before its effect and again after it
   * @returns whether it was killed, or had ended before
   */
  bakeKilled(order: BakeOrder, isAt: IsAt): Promise<boolean> {
    return this.killed((context) => bake(context, order), isAt);
  }

  /** Runs the step that proves a template. */
  async prove(order: Omit<ProofOrder, "uuid">, key?: SigningKey): Promise<ProvedImage> {
    const { signal } = new AbortController();
    return await prove({ pve: this.lab.bench.client(site.bakeToken), stop: signal }, this.withUuid(order), key);
  }

  /** Runs it in a process that is killed at a request. */
  proveKilled(order: Omit<ProofOrder, "uuid">, key: SigningKey, isAt: IsAt): Promise<boolean> {
    return this.killed((context) => prove(context, this.withUuid(order), key), isAt);
  }

  /** The order for the template that is there now. */
  private withUuid(order: Omit<ProofOrder, "uuid">): ProofOrder {
    const smbios = this.lab.bench.dc.vms.get(order.bake.vmid)?.config.get("smbios1");
    return { ...order, uuid: String(smbios).replace("uuid=", "") };
  }

  /**
   * Bakes and proves as one update does, in a process of its own.
   * @param meets what a request of it meets; `kill`: the process is killed there
   * @returns whether it was killed
   * @throws what made it fail
   */
  update(order: Omit<ProofOrder, "uuid">, key: SigningKey, meets: Meets): Promise<boolean> {
    return this.run(async (context) => {
      await bake(context, order.bake);
      await prove(context, this.withUuid(order), key);
    }, meets);
  }

  /** Why a rollout that trusts a key would not clone the template. */
  async refusals(
    { records, bake: { vmid } }: Omit<ProofOrder, "uuid">,
    keys: readonly TrustedKey[],
  ): Promise<string[]> {
    const config = this.lab.bench.dc.vms.get(vmid)?.config ?? new Map<string, unknown>();
    const options = new Map([...config].map(([name, value]) => [name, String(value)]));
    const identity = identityOf(options);
    if (identity === undefined) return ["there is no template"];
    const record = notedRecord(options.get("description") ?? "");
    const found = record === undefined ? undefined : await readRecord(records, record, keys);
    const shown = { title: "template", identity, record };
    const demand = { store: records, unsigned: "refused" } as const;
    return trustProblems(shown, found, demand, new Date(clock.date())).map(({ what }) => what);
  }

  private killed(work: Work, isAt: IsAt): Promise<boolean> {
    return this.run(work, (moment, request) => (isAt(moment, request) ? "kill" : undefined));
  }

  private async run(work: Work, meets: Meets): Promise<boolean> {
    const { dc } = this.lab.bench;
    const killed = new AbortController();
    const sockets: Dispatcher[] = [];
    useConnections((options) => {
      const made = new Agent(options);
      sockets.push(made);
      return made;
    });
    const { port, ca } = this.lab.bench;
    const token = dc.credential(site.bakeToken);
    const pve = new Proxmox({ endpoint: `https://127.0.0.1:${port}`, token, ca, retryMs: 1 });
    useConnections();
    dc.fault = (moment, request) => {
      if (killed.signal.aborted || request.token !== site.bakeToken) return undefined;
      const met = meets(moment, request);
      if (met !== "kill") return met;
      killed.abort(new Error("killed"));
      for (const one of sockets) void one.destroy();
      return { drop: true };
    };
    try {
      await work({ pve, stop: killed.signal }).catch((error: unknown) => {
        if (!killed.signal.aborted) throw error;
      });
    } finally {
      dc.fault = undefined;
      for (const one of sockets) await one.destroy();
    }
    return killed.signal.aborted;
  }

  /** The logs of bakes that failed. */
  logs(): string[] {
    try {
      return readdirSync(this.evidence).map((name) => readFileSync(join(this.evidence, name), "utf8"));
    } catch {
      return [];
    }
  }

  /** What is in the data centre of bakes: VMs and CDs. */
  remains(): { vms: string[]; cds: string[] } {
    const { vms, storages } = this.lab.bench.dc;
    const cds = [...(storages.get(site.imageStorage)?.volumes.keys() ?? [])].filter((id) => id.includes(":iso/"));
    return { vms: [...vms.values()].map((vm) => String(vm.config.get("name"))), cds };
  }

  /** Takes everything away, but for the base images. */
  async clear(): Promise<void> {
    const { bench } = this.lab;
    bench.dc.fault = undefined;
    this.lab.rack.bakeFaults = [];
    for (const { vmid, power } of [...bench.dc.vms.values()]) {
      if (power) await bench.task("POST", `nodes/pve1/qemu/${vmid}/status/stop`);
      await bench.task("DELETE", `nodes/pve1/qemu/${vmid}`);
    }
    const storage = bench.dc.storages.get(site.imageStorage);
    for (const id of [...(storage?.volumes.keys() ?? [])]) if (id.includes(":iso/")) storage?.volumes.delete(id);
  }
}
