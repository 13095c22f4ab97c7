/** The guests of a data centre in a box. */
import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { accessSync, constants, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../src/runtime/errors.ts";
import type { AuditFlags } from "../audit.ts";
import { Boundaries } from "../boundaries.ts";
import { filesOf, installedImage } from "../images.ts";
import type { Web, WebFile } from "../proxmox/data-centre.ts";
import { addressesOf } from "../site.ts";
import { Processes } from "../process.ts";
import type { BakeFault, Guest, GuestHost, Machine, Profile, SnapshotFault } from "../types.ts";
import { BakeGuest } from "./bake.ts";
import { installBase } from "./base-image.ts";
import { Balancer } from "./balancer.ts";
import type { Cluster } from "./cluster.ts";
import { diskDirectory } from "./context.ts";
import type { Binaries, GuestEvent, Surroundings } from "./context.ts";
import { GuestFiles, GuestLog } from "./files.ts";
import { RackGuest } from "./guest.ts";
import { paths } from "./join.ts";
import { NodeRuntime } from "./registries.ts";
import type { Server } from "./server.ts";

export interface RackOptions {
  /** First two octets of every address: `127.40`. Pods get the second octet plus 100, so it is at most 155. */
  prefix: string;
  /** Work directory of the guests: etcd data, certificates, process logs. */
  directory: string;
  binaries: Binaries;
  profile: Profile;
  /** @default boundaries of its own, at which nothing is held or cut */
  boundaries?: Boundaries;
  /** Additional flags of the API servers. @default none */
  audit?: AuditFlags;
  /** The web as guests see it. @default nothing answers */
  web?: Web;
}

/** A member of etcd, as a live member reports it. */
export interface Member {
  /** The Node's name and a suffix. Empty for a learner that has not started yet. */
  name: string;
  node: string;
  address: string;
  learner: boolean;
  /** It has a leader and serves. */
  healthy: boolean;
}

export class RackGuests extends EventEmitter<{ guest: [GuestEvent] }> implements GuestHost, Surroundings {
  readonly prefix: string;
  readonly directory: string;
  readonly binaries: Binaries;
  readonly processes: Processes;
  /** The registration addresses. The lab follows the cluster of the first one. */
  readonly balancers: readonly [Balancer, Balancer];
  readonly boundaries: Boundaries;
  readonly audit: AuditFlags;
  readonly clusters = new Map<string, Cluster>();
  /** May be changed at any time: a change takes effect at the next wait. */
  profile: Profile;
  snapshotFault: SnapshotFault | undefined;
  registryPassword = "the first password of the registry";
  bakeFaults: BakeFault[] = [];
  private readonly source: Web;
  private readonly running = new Set<RackGuest | BakeGuest>();

  constructor(options: RackOptions) {
    const { prefix, directory, binaries, profile, boundaries = new Boundaries(), audit = {} } = options;
    super();
    this.source = options.web ?? (() => undefined);
    this.prefix = prefix;
    this.directory = directory;
    this.binaries = binaries;
    this.profile = profile;
    this.boundaries = boundaries;
    this.audit = audit;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.processes = new Processes(processDirectory(directory));
    const { registration, secondRegistration } = addressesOf(prefix);
    this.balancers = [new Balancer(registration), new Balancer(secondRegistration)];
  }

  /** Opens the registration addresses. @throws UserError when its ports are taken, or a program is missing */
  async start(): Promise<void> {
    for (const path of Object.values(this.binaries) as string[]) needProgram(path);
    for (const balancer of this.balancers) await balancer.listen();
  }

  boot(vm: Machine): Guest {
    const { disk } = vm;
    if (vm.image.base !== undefined) installBase(new GuestFiles(disk, new Map()), vm.image);
    const machine = { ...vm, image: installedImage(vm.image, disk) };
    const files = new GuestFiles(disk, filesOf(machine.image));
    const now = () => clockOf(machine);
    const log = new GuestLog(files, paths.joinLog, now);
    const address = machine.cloudInit.address ?? this.lease(machine.vmid);
    const addresses6 = addresses6Of(machine);
    const context = {
      rack: this,
      machine,
      address,
      addresses6,
      files,
      log,
      runtime: new NodeRuntime(),
      now,
    };
    const guest = machine.image.rke2 === "" ? new BakeGuest(context) : new RackGuest(context);
    this.running.add(guest);
    void guest.off.then(() => this.running.delete(guest));
    return guest;
  }

  /** Removes the data that the processes of a destroyed VM left on the host's disk. */
  forget(vmid: number, uuid: string): void {
    rmSync(diskDirectory(this.directory, vmid, uuid), { recursive: true, force: true });
  }

  /** Powers off all guests and closes the registration addresses. */
  async close(): Promise<void> {
    await Promise.all([...this.running].map((guest) => guest.powerOff()));
    for (const balancer of this.balancers) await balancer.close();
    await this.processes.killAll();
  }

  web(url: string): WebFile | string | undefined {
    const has = (fault: BakeFault["fault"]) => this.bakeFaults.some((one) => one.fault === fault);
    const found = this.source(url);
    if (typeof found !== "object") return found;
    if (has("no-archive") && url.endsWith("/InRelease")) return "404 Not Found";
    // Half of the file: the connection ended, and nobody said how long it is.
    const isCut = has("cut-artefact") && url.includes("/rke2/") && found.data !== undefined;
    return isCut ? { ...found, data: found.data?.subarray(0, found.data.length / 2) } : found;
  }

  /** The first registration address where the names have none. */
  balancerOf(names: readonly string[]): Balancer {
    return this.balancers.find(({ address }) => names.includes(address)) ?? this.balancers[0];
  }

  report(event: GuestEvent): void {
    this.emit("guest", event);
  }

  /** Members of etcd; empty when no server runs. */
  async members(): Promise<Member[]> {
    const servers = this.servers;
    for (const server of servers) {
      const members = await server.etcd.members(false).catch(() => undefined);
      if (!members) continue;
      return Promise.all(
        members.map(async ({ name = "", peerURLs = [], isLearner = false }) => {
          const address = URL.canParse(peerURLs[0] ?? "") ? new URL(peerURLs[0] ?? "").hostname : "";
          const healthy = (await servers.find((one) => one.address === address)?.etcd.ready()) ?? false;
          return { name, node: name.replace(/-[0-9a-f]{8}$/, ""), address, learner: isLearner, healthy };
        }),
      );
    }
    return [];
  }

  /** API endpoints of the servers that are ready: `https://127.40.0.11:6443`. */
  get apiServers(): string[] {
    return this.servers.filter(({ ready }) => ready).map(({ address }) => `https://${address}:6443`);
  }

  /** The administrator's kubeconfig for the registration address; undefined until a cluster exists. */
  get adminKubeconfig(): string | undefined {
    const cluster = this.servers[0]?.cluster ?? this.followed.at(-1);
    return cluster?.adminKubeconfig(this.balancers[0].api);
  }

  /** Process ids of all real programs of the guests. */
  get pids(): number[] {
    return this.processes.pids;
  }

  /** Clusters of the first registration address: a cluster that was lost and made again is another one. */
  private get followed(): Cluster[] {
    return [...this.clusters.values()].filter(({ balancer }) => balancer === this.balancers[0]);
  }

  private get servers(): Server[] {
    return this.followed.flatMap(({ servers }) => [...servers.values()]);
  }

  /** What the site's DHCP server answers: the same address for the same VM. */
  private lease(vmid: number): string {
    const last = vmid >= 1100 && vmid < 1200 ? 101 + (vmid - 1100) : 11 + (vmid % 80);
    return `${this.prefix}.0.${last}`;
  }
}

/**
 * The lab's network is advertised, and has no DHCPv6. With an address of the network's, guests have a temporary one too,
 * and before it (RFC 8981).
 */
function addresses6Of({ vmid, cloudInit: { address6 } }: Machine): string[] {
  if (address6 !== "auto") return address6 === undefined || address6 === "dhcp" ? [] : [address6];
  return [`fd00:6::${randomBytes(2).toString("hex")}:1`, `fd00:6::${vmid.toString(16)}`];
}

/** The guest's clock: a day behind when the image has the fault `clock-behind`. */
function clockOf({ image }: Machine): Date {
  return new Date(Date.now() - (image.fault === "clock-behind" ? 24 * 3600 * 1000 : 0));
}

function needProgram(path: string): void {
  try {
    accessSync(path, constants.X_OK);
  } catch (error) {
    const problem = { what: "a program of the lab is missing", where: path, todo: "run: npx evergreen setup" };
    throw new UserError(problem, { cause: error });
  }
}

/** Directory for the logs of a rack's processes. */
export const processDirectory = (directory: string): string => join(directory, "processes");
