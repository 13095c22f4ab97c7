import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { installedImage } from "../images.ts";
import type { GuestHost, ImageContent, Profile } from "../types.ts";
import { FileLock } from "./locks.ts";
import type { Grant, Pool, PveNode, Storage, Token, Value, Vm, VmEvent } from "./model.ts";
import { knownPrivileges } from "./permissions.ts";
import { findVolume, newStorage, usedBytes } from "./storages.ts";
import { Tasks } from "./tasks.ts";
import { bootDrive, seeVm } from "./status.ts";
import { timingOf } from "./timing.ts";
import type { Timing } from "./timing.ts";

/** A file on the web, for `download-url`. */
export interface WebFile {
  /** Bytes. */
  size: number;
  mimetype: string;
  sha256: string;
  /** Its other checksums, by algorithm. */
  digests?: Readonly<Record<string, string>> | undefined;
  /** Size of the disk in an image file; absent: `size`. */
  virtualSize?: number | undefined;
  /** What is installed on the disk. */
  image?: ImageContent | undefined;
  data?: Buffer | undefined;
}

/** The web as seen from the hosts: a file, a status such as `404 File not found`, or undefined when nothing answers. */
export type Web = (url: string) => WebFile | string | undefined;

export interface DataCentreOptions {
  profile: Profile;
  /** Starts the guests of VMs that are powered on. */
  guests: GuestHost;
  /** @default "8.4" */
  version?: "8.4" | "9.2";
  /** Name of the lab that it belongs to. @default none: nothing distinguishes it from a real data centre */
  lab?: string;
  /** @default nothing answers */
  web?: Web;
  /** Built-in waits; the profile gives those that are absent. */
  timing?: Partial<Timing>;
}

/** A request as fault hooks and the access log get it. */
export interface Request {
  method: string;
  /** Path below `/api2/json/`, decoded. */
  path: string;
  /** Its pattern: `nodes/{node}/qemu/{vmid}/config`; the path itself when no endpoint matches. */
  endpoint: string;
  /** Token id; undefined when the request has none. */
  token: string | undefined;
  params: ReadonlyMap<string, string>;
}

/** What a fault hook requests instead of the usual answer. */
export interface Fault {
  /** Milliseconds to wait first. */
  delay?: number;
  /** Answers with this status and reason phrase, e.g. 595 "Connection timed out". */
  answer?: { status: number; reason: string };
  /** Cuts the connection without an answer. */
  drop?: boolean;
  /** Waits first, then cuts the connection when the result is true. */
  hold?: () => Promise<boolean>;
}

/** Called before a request has any effect, and again after its effect and before its answer. */
export type FaultHook = (moment: "before" | "after", request: Request) => Fault | undefined;

export interface AccessLogEntry extends Request {
  status: number;
  reason: string;
  milliseconds: number;
}

/** A Proxmox VE cluster in memory. `serve` puts its API on a port. */
export class DataCentre extends EventEmitter<{ vm: [VmEvent] }> {
  readonly profile: Profile;
  readonly timing: Timing;
  readonly guests: GuestHost;
  web: Web;
  version: "8.4" | "9.2";
  /** Name of the lab that it belongs to. Its API reports the name, which a real Proxmox VE never does. */
  readonly lab: string | undefined;
  readonly nodes = new Map<string, PveNode>();
  /** Zone of each VNet of the SDN; every host has them. */
  readonly vnets = new Map<string, string>();
  /** Hosts with an entry in a resource mapping, by its path: `pci/gpu`. */
  readonly mappings = new Map<string, string[]>();
  readonly storages = new Map<string, Storage>();
  readonly pools = new Map<string, Pool>();
  readonly vms = new Map<number, Vm>();
  readonly tokens = new Map<string, Token>();
  readonly grants: Grant[] = [];
  readonly tasks = new Tasks(() => this.timing.fork);
  /** Requests since the start: of the engine's provider, by token id, by `METHOD endpoint`. */
  readonly requests = {
    total: 0,
    ofProvider: 0,
    byToken: new Map<string, number>(),
    byEndpoint: new Map<string, number>(),
  };
  /** False: too few hosts answer for the cluster's file system to be writable. */
  quorate = true;
  /** True once `close` was called: nothing is started any more. */
  closed = false;
  fault: FaultHook | undefined;
  accessLog: ((entry: AccessLogEntry) => void) | undefined;
  private readonly statistics: NodeJS.Timeout | undefined;

  constructor(options: DataCentreOptions) {
    super();
    this.profile = options.profile;
    this.timing = { ...timingOf(options.profile), ...options.timing };
    this.guests = options.guests;
    this.web = options.web ?? (() => undefined);
    this.version = options.version ?? "8.4";
    this.lab = options.lab;
    if (this.timing.statusInterval > 0) {
      this.statistics = setInterval(() => this.see(), this.timing.statusInterval).unref();
    }
  }

  /** Renews the statistics behind cluster/resources, as pvestatd does periodically. */
  see(): void {
    for (const vm of this.vms.values()) vm.seen = this.isUp(vm.node) ? seeVm(this, vm) : undefined;
  }

  isUp(node: string): boolean {
    return this.nodes.get(node)?.reachable ?? false;
  }

  addNode(name: string, options: Partial<Omit<PveNode, "name">> = {}): PveNode {
    const node = { name, reachable: true, bridges: ["vmbr0"], ...options };
    this.nodes.set(name, node);
    return node;
  }

  addStorage(id: string, options: Partial<Storage> = {}): Storage {
    const storage = newStorage(id, options);
    this.storages.set(id, storage);
    return storage;
  }

  addPool(id: string, comment?: string): Pool {
    const pool: Pool = { id, comment, vms: new Set(), storages: new Set() };
    this.pools.set(id, pool);
    return pool;
  }

  /**
   * @param id `USER@REALM!NAME`
   * @param options.secret the token's UUID; absent: a new one is generated
   * @param options.root has all privileges
   */
  addToken(id: string, options: { secret?: string; root?: boolean } = {}): Token {
    const token = { id, secret: options.secret ?? randomUUID(), root: options.root ?? false };
    this.tokens.set(id, token);
    return token;
  }

  /** What a client sends: `USER@REALM!NAME=UUID`. */
  credential(id: string): string {
    const token = this.tokens.get(id);
    if (!token) throw new Error(`no token ${id}`);
    return `${token.id}=${token.secret}`;
  }

  revokeToken(id: string): void {
    this.tokens.delete(id);
  }

  /** Grants privileges on a path; replaces the token's privileges on exactly that path in that role. */
  grant(
    who: string,
    path: string,
    privileges: readonly string[],
    options: { propagate?: boolean; role?: string } = {},
  ) {
    const unknown = privileges.filter((name) => !knownPrivileges(this.version).includes(name));
    if (unknown.length > 0) throw new Error(`Proxmox VE ${this.version} has no privilege ${unknown.join(", ")}`);
    const role = options.role ?? "Custom";
    this.ungrant(who, path, role);
    this.grants.push({ who, path, role, privileges: new Set(privileges), propagate: options.propagate ?? true });
  }

  /** Removes a token's privileges on exactly this path. */
  ungrant(who: string, path: string, role?: string): void {
    const kept = this.grants.filter(
      (grant) => grant.who !== who || grant.path !== path || (role !== undefined && grant.role !== role),
    );
    this.grants.splice(0, this.grants.length, ...kept);
  }

  /** Removes a privilege from a token on all paths. */
  removePrivilege(who: string, privilege: string): void {
    for (const grant of this.grants) if (grant.who === who) grant.privileges.delete(privilege);
  }

  /** Adds a VM with its lock, without any volume. */
  addVm(node: string, vmid: number, config: Iterable<[string, Value]> = []): Vm {
    const vm: Vm = {
      vmid,
      node,
      config: new Map(config),
      pending: new Map(),
      drawn: new Map(),
      lock: this.configLock(vmid),
      power: undefined,
      ha: undefined,
      seen: undefined,
    };
    this.vms.set(vmid, vm);
    return vm;
  }

  private readonly locks = new Map<number, FileLock>();

  /** The lock file belongs to the VMID, not to the VM: it exists before and after the VM. */
  configLock(vmid: number): FileLock {
    const lock = this.locks.get(vmid) ?? FileLock.file(`/var/lock/qemu-server/lock-${vmid}.conf`);
    this.locks.set(vmid, lock);
    return lock;
  }

  poolOf(vmid: number): Pool | undefined {
    return [...this.pools.values()].find((pool) => pool.vms.has(vmid));
  }

  /** What is installed on the disk that a VM boots from. */
  imageOf(vm: Vm): ImageContent | undefined {
    const volid = bootDrive(vm.config);
    const volume = volid === undefined ? undefined : findVolume(this, volid);
    return volume?.image && installedImage(volume.image, volume.files);
  }

  tell(kind: VmEvent["kind"], vm: Vm, token: string): void {
    this.emit("vm", { kind, vmid: vm.vmid, name: String(vm.config.get("name") ?? ""), token });
  }

  /** The current state, for a status page. */
  snapshot() {
    return {
      version: this.version,
      profile: this.profile.name,
      requests: this.requests.total,
      runningTasks: this.tasks.running().map((task) => task.upid),
      vms: [...this.vms.values()]
        .sort((a, b) => a.vmid - b.vmid)
        .map((vm) => ({
          vmid: vm.vmid,
          node: vm.node,
          name: String(vm.config.get("name") ?? ""),
          pool: this.poolOf(vm.vmid)?.id,
          template: vm.config.get("template") === 1,
          running: vm.power !== undefined,
          agentUp: vm.power?.guest.agentUp ?? false,
          tags: String(vm.config.get("tags") ?? "")
            .split(";")
            .filter(Boolean),
        })),
      storages: [...this.storages.values()].map((storage) => ({
        id: storage.id,
        used: usedBytes(storage),
        total: storage.total,
        volumes: storage.volumes.size,
      })),
    };
  }

  /** Powers off all VMs and stops the statistics. */
  async close(): Promise<void> {
    this.closed = true;
    clearInterval(this.statistics);
    for (const task of this.tasks.running()) task.cancel();
    await Promise.all(this.tasks.running().map((task) => task.done));
    await Promise.all(
      [...this.vms.values()].map(async (vm) => {
        await vm.power?.guest.powerOff();
        vm.power = undefined;
      }),
    );
  }
}
