/** The process of a lab: the data centre, its guests, and the watcher. Started by lab.ts. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { Deadline } from "../src/runtime/deadline.ts";
import { messageOf, type Problem, UserError } from "../src/runtime/errors.ts";
import { Audit } from "./audit.ts";
import { Boundaries } from "./boundaries.ts";
import { ClusterSide } from "./cluster-side.ts";
import type { LabStatus } from "./control.ts";
import { type ControlHandlers, serveControl } from "./control-server.ts";
import { Faults } from "./faults.ts";
import { RackGuests } from "./guest/rack.ts";
import { images } from "./images.ts";
import { Journal } from "./journal.ts";
import { alive, identify, memoryOf, sessionOf } from "./processes.ts";
import { profiles } from "./profiles.ts";
import { Authority } from "./pki.ts";
import { startObjectStore } from "./object-store.ts";
import { type AccessLogEntry, DataCentre } from "./proxmox/data-centre.ts";
import type { VmEvent } from "./proxmox/model.ts";
import { seedSite, site } from "./proxmox/site.ts";
import { serve } from "./proxmox/serve.ts";
import { timingOf } from "./proxmox/timing.ts";
import type { DaemonFile } from "./lab.ts";
import { addressesOf, envOf, filesOf, type LabEnv, type LabOptions } from "./site.ts";
import { taken } from "./guest/balancer.ts";
import { emptyTally } from "./load/tally.ts";
import { vmFact } from "./vm-fact.ts";
import { labWeb } from "./web.ts";
import { Watcher } from "./watcher/watcher.ts";

const noCluster = (name: string) =>
  new UserError({
    what: "there is no cluster yet to put a load on",
    where: `lab ${name}`,
    todo: "create it first: npx pulumi up --stack dev",
  });

/** Milliseconds between two checks whether the lab's owner is alive. */
const ownerEvery = 1000;
/** Milliseconds between two checks for a cluster. */
const clusterEvery = 200;

export class LabDaemon {
  private readonly options: LabOptions;
  private readonly since = new Date();
  private readonly dataCentre: DataCentre;
  private readonly guests: RackGuests;
  private readonly faults: Faults;
  private readonly watcher = new Watcher();
  private readonly journal = new Journal();
  private readonly boundaries = new Boundaries((text, { effect, when }) => {
    this.journal.add("fault", text);
    this.faults.strikes.count("hold", `${when} a ${effect}`);
  });
  private readonly audit: Audit | undefined;
  /** VMIDs that the tool under test must not touch. */
  private readonly seeded = new Set<number>();
  private readonly closers: (() => Promise<unknown>)[] = [];
  private side: ClusterSide | undefined;
  private seenViolations = 0;
  private readonly finished: () => void;

  /** @param finished called when the lab was told to stop and has stopped */
  constructor(options: LabOptions, finished: () => void = () => undefined) {
    this.options = options;
    this.finished = finished;
    // Copies, since the profile can be changed while the lab runs.
    const profile = { ...profiles[options.profile] };
    const files = filesOf(options.directory);
    const { prefix, binaries } = options;
    const { boundaries } = this;
    if (options.audit) this.audit = new Audit(boundaries, files.audit, addressesOf(prefix).audit);
    const audit = this.audit?.flags ?? {};
    const web = labWeb;
    this.guests = new RackGuests({ prefix, directory: files.guests, profile, binaries, boundaries, audit, web });
    this.guests.on("guest", ({ name, kind }) => this.journal.add("node", `${name} ${kind}`));
    this.dataCentre = new DataCentre({
      profile,
      guests: this.guests,
      version: options.version,
      lab: options.name,
      web,
    });
    this.faults = new Faults(this.dataCentre, this.guests);
  }

  /** @throws UserError when an address is taken */
  async start(): Promise<void> {
    const { directory, prefix, storage, hosts } = this.options;
    const files = filesOf(directory);
    const { proxmox } = addressesOf(prefix);
    for (const path of [directory, files.certificates, files.state, files.guests]) {
      mkdirSync(path, { recursive: true, mode: 0o700 });
    }
    const templates = [
      { vmid: 9001, image: { ...images["1.0.0"] } },
      { vmid: 9002, image: { ...images["1.1.0"] } },
    ];
    const network = { cidr: `${prefix}.0.1/24`, gateway: `${prefix}.0.1` };
    await seedSite(this.dataCentre, { templates, network, ...(storage && { storage }), ...(hosts && { hosts }) });
    for (const vm of this.dataCentre.vms.values()) {
      this.seeded.add(vm.vmid);
      this.watcher.vm("created", vmFact(vm, this.seeded), undefined);
    }
    this.dataCentre.on("vm", (event) => void this.onVm(event));
    this.dataCentre.accessLog = (entry) => this.onRequest(entry);
    const authority = new Authority("Evergreen lab");
    writeFileSync(files.ca, authority.cert);
    const server = authority.issue({ commonName: proxmox, usages: ["server"], names: [proxmox, "localhost"] });
    const api = await serve(this.dataCentre, { address: proxmox, port: 8006, ...server }).catch((error: unknown) => {
      throw taken(`${proxmox}:8006`, error as NodeJS.ErrnoException);
    });
    this.closers.push(() => api.close());
    await this.audit?.listen();
    await this.guests.start();
    this.closers.push(() => this.guests.close());
    this.closers.push(() => this.audit?.close() ?? Promise.resolve());
    const env = {
      ...envOf(prefix, directory, this.dataCentre.credential(site.rolloutToken)),
      EVERGREEN_BAKE_API_TOKEN: this.dataCentre.credential(site.bakeToken),
      ...(await this.startObjectStore()),
    };
    writeFileSync(files.env, `${JSON.stringify(env, undefined, 2)}\n`, { mode: 0o600 });
    const timer = setInterval(() => this.findCluster(), clusterEvery);
    this.closers.unshift(() => {
      clearInterval(timer);
      return Promise.resolve();
    });
    const control: Server = await serveControl(files.socket, this.handlers());
    this.closers.unshift(() => Promise.resolve(control.close()));
    this.journal.add("lab", `${this.options.name} is up at ${env.PROXMOX_VE_ENDPOINT}`);
  }

  /** @returns its credentials as environment variables; nothing when the lab has no S3 server */
  private async startObjectStore(): Promise<Partial<LabEnv>> {
    const { objectStore: binary, directory, prefix } = this.options;
    if (binary === undefined) return {};
    const { accessKey, secretKey } = await startObjectStore({
      binary,
      address: addressesOf(prefix).objectStore,
      directory: filesOf(directory).objectStore,
      processes: this.guests.processes,
    });
    return { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey };
  }

  /** Powers off everything. The directory stays: the process that requested the lab removes it. */
  async close(): Promise<void> {
    const { EVERGREEN_STRIKES: strikes } = process.env;
    if (strikes !== undefined) this.faults.strikes.append(strikes);
    await this.side?.close();
    this.side = undefined;
    await this.dataCentre.close();
    for (const close of this.closers.splice(0)) await close();
  }

  /** Reports commands to the guest agent to the watcher: they cause no event of the VM. */
  private onRequest({ method, path, status, token }: AccessLogEntry): void {
    const [, vmid, what = ""] = /^nodes\/[^/]+\/qemu\/(\d+)\/agent\/(.+)$/.exec(path) ?? [];
    if (vmid === undefined || status !== 200 || method === "GET" || what === "ping") return;
    if (token !== undefined && token !== site.rootToken) this.watcher.touched(what, Number(vmid), token);
  }

  private async onVm(event: VmEvent): Promise<void> {
    const by = event.token === "" || event.token === site.rootToken ? undefined : event.token;
    this.journal.add("vm", `${event.vmid} ${event.name} ${event.kind}${by === undefined ? " by hand" : ""}`);
    const vm = this.dataCentre.vms.get(event.vmid);
    // A VM that root creates does not belong to the tool under test.
    if (event.kind === "created" && by === undefined) this.seeded.add(event.vmid);
    if (event.kind === "destroyed") {
      const node = await this.side?.node(event.name).catch(() => undefined);
      this.watcher.destroyed(event.vmid, by, node);
      this.seeded.delete(event.vmid);
    } else if (vm) {
      this.watcher.vm(event.kind, vmFact(vm, this.seeded), by);
    }
  }

  /** Follows the cluster that has servers, and reports new violations. */
  private findCluster(): void {
    for (const violation of this.watcher.violations.slice(this.seenViolations)) {
      this.journal.add("violation", `${violation.invariant}: ${violation.subject}: ${violation.evidence}`);
    }
    this.seenViolations = this.watcher.violations.length;
    if (this.guests.apiServers.length === 0) return;
    const kubeconfig = this.guests.adminKubeconfig;
    if (kubeconfig === undefined || kubeconfig === this.side?.kubeconfig) return;
    void this.side?.close();
    const { watcher, journal } = this;
    const members = () => this.guests.members();
    const autoLoad = this.options.load !== "asked";
    this.side = new ClusterSide({ kubeconfig, members, watcher, journal, autoLoad });
    writeFileSync(filesOf(this.options.directory).kubeconfig, kubeconfig, { mode: 0o600 });
  }

  private handlers(): ControlHandlers {
    const done = {};
    return {
      "GET /status": () => this.status(),
      "GET /events": (_, query) => this.journal.after(Number(query.get("after") ?? 0)),
      "POST /stop": () => {
        void this.close().finally(this.finished);
        return done;
      },
      "POST /profile": ({ profile }) => {
        Object.assign(this.dataCentre.profile, profiles[profile]);
        Object.assign(this.dataCentre.timing, timingOf(profiles[profile]));
        return done;
      },
      "POST /faults": async (order) => {
        const said = await this.faults.order(order);
        this.journal.add("fault", said);
        return { said };
      },
      "DELETE /faults": () => {
        this.faults.clear();
        this.journal.add("fault", "none any more");
        return done;
      },
      "POST /load": async (options) => {
        if (!this.side) throw noCluster(this.options.name);
        await this.side.deploy(options);
        return done;
      },
      "POST /longhorn": async (options) => {
        if (!this.side) throw noCluster(this.options.name);
        await this.side.storeData(options, this.dataCentre.profile);
        return done;
      },
      "POST /probe/reset": () => {
        this.side?.resetProbe();
        return done;
      },
      "POST /watcher/reset": () => {
        this.watcher.reset();
        this.seenViolations = 0;
        return done;
      },
      "POST /watcher/limits": (limits) => {
        this.watcher.setLimits(limits);
        return done;
      },
      "POST /watcher/finish": ({ seconds }) => this.finish(seconds),
    };
  }

  private async finish(seconds: number) {
    const deadline = new Deadline("the end state", seconds);
    while (!deadline.passed && this.watcher.unfinished().length > 0) await delay(100);
    this.watcher.finish();
    return [...this.watcher.violations];
  }

  private imageOf(vmid: number): string | undefined {
    const vm = this.dataCentre.vms.get(vmid);
    return vm && this.dataCentre.imageOf(vm)?.name;
  }

  private status(): LabStatus {
    const { name, prefix, version } = this.options;
    const { proxmox, registration } = addressesOf(prefix);
    const { requests, profile } = this.dataCentre;
    const own = identify(process.pid);
    return {
      name,
      prefix,
      profile: profile.name,
      version,
      since: this.since.toISOString(),
      pid: process.pid,
      endpoint: `https://${proxmox}:8006/`,
      registration,
      vms: this.dataCentre.snapshot().vms.map((vm) => ({ ...vm, image: this.imageOf(vm.vmid) })),
      nodes: [...this.watcher.model.nodes.values()],
      members: [...this.watcher.model.members],
      requests: {
        total: requests.total,
        ofProvider: requests.ofProvider,
        byEndpoint: Object.fromEntries(requests.byEndpoint),
      },
      boundaries: this.boundaries.seen,
      bakeBoundaries: this.boundaries.seenOfBakes,
      probe: this.side?.probe ?? { requests: 0, failed: 0, workload: emptyTally, api: emptyTally },
      evicted: this.watcher.evicted,
      violations: [...this.watcher.violations],
      load: this.side?.load,
      memoryBytes: memoryOf(sessionOf(own)),
    };
  }
}

function problemOf(error: unknown): Problem {
  if (error instanceof UserError) return error.problem;
  console.error(error);
  return { what: messageOf(error), where: "the lab's start", todo: "report it with the lab's daemon.log" };
}

/** Answers the process that started the lab. It may have been killed meanwhile: then nothing waits for the answer. */
function answer(message: { problem?: Problem }): void {
  process.send?.(message, undefined, undefined, () => undefined);
}

async function main(): Promise<void> {
  const options = JSON.parse(process.argv[2] ?? "{}") as LabOptions;
  const exit = () => process.exit();
  const daemon = new LabDaemon(options, exit);
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void daemon.close().finally(exit));
  const { owner } = options;
  if (owner) {
    const look = setInterval(() => {
      if (alive(owner)) return;
      clearInterval(look);
      void daemon.close().finally(() => {
        rmSync(options.directory, { recursive: true, force: true, maxRetries: 5 });
        exit();
      });
    }, ownerEvery);
  }
  // A lab outlives the terminal that it was started from.
  process.on("SIGHUP", () => undefined);
  try {
    const own: DaemonFile = { process: identify(process.pid), options };
    writeFileSync(filesOf(options.directory).daemon, JSON.stringify(own), { mode: 0o600 });
    await daemon.start();
    answer({});
  } catch (error) {
    answer({ problem: problemOf(error) });
    await daemon.close().finally(exit);
  }
}

if (process.argv[1] === import.meta.filename) await main();
