import { Chance } from "./chance.ts";
import type { Faults } from "./faults.ts";
import type { Guest } from "./guest.ts";
import type { Process } from "./process.ts";
import type { VirtualTime } from "./time.ts";
import type { Watcher } from "./watcher.ts";

/** The true owner of a VM, which no API reports. */
export type Owner = "ours" | "template" | "stranger";

export interface Vm {
  readonly owner: Owner;
  readonly vmid: number;
  host: string;
  name: string;
  readonly uuid: string;
  tags: string[];
  /** For people; Proxmox calls it a description. */
  notes: string;
  pool: string | undefined;
  template: boolean;
  onBoot: boolean;
  running: boolean;
  /** When its QEMU process started, in milliseconds. */
  runsSince: number;
  lock: string | undefined;
  /** QEMU's status when it is neither `running` nor `stopped`; the list of the data centre repeats it. */
  word: string | undefined;
  /** Proxmox's HA manager starts and stops it, with a delay; in its error state it does neither. */
  ha: boolean | "error";
  /** Number of changes of the configuration; part of its digest. */
  revision: number;
  /** When its configuration was last read, in milliseconds. */
  readAt: number;
  /** State at the last poll of the statistics daemon: the list of the data centre is no newer. */
  seen: { name: string; running: boolean; template: boolean } | undefined;
  /** When that was, in milliseconds. */
  seenAt: number;
  /** Files that survive a power cut. */
  readonly disk: Map<string, string>;
  /** Options of disks that somebody has attached, by name: they are destroyed with it. */
  readonly attached: Map<string, string>;
  /** The guest; undefined: the VM runs no system of ours. */
  guest: Guest | undefined;
}

export type NewVm = Pick<Vm, "owner" | "vmid" | "host" | "name" | "uuid"> & Partial<Vm>;

export interface Task {
  upid: string;
  type: string;
  vmid: number;
  /** Undefined while it runs. */
  exit: string | undefined;
  /** Ended by another task. */
  overruled: boolean;
}

/** Time between two polls of the statistics daemon, in milliseconds. */
const statusInterval = 10_000;

/** How long the list keeps what a host that does not answer has last reported, in milliseconds: in Proxmox five minutes. */
const keptMs = 60_000;

/** A Proxmox VE data centre: VMs, power, tasks. A request takes effect when its task ends. */
export class DataCentre {
  readonly time: VirtualTime;
  readonly faults: Faults;
  readonly watcher: Watcher;
  readonly vms = new Map<number, Vm>();
  readonly tasks = new Map<string, Task>();
  readonly hosts = ["pve1", "pve2"];
  /** Hosts that do not answer. */
  readonly silent = new Set<string>();
  /**
   * Hosts whose statistics daemon hangs, for example on lost storage: they answer, but the list has no data of their
   * VMs.
   */
  readonly withoutStatistics = new Set<string>();
  /** The answer of Proxmox to every request to a guest agent; undefined: the agents are asked. */
  agentsRefuse: { status: number; reason: string } | undefined;
  /** Whether most hosts see each other: without that, every write is refused. */
  quorate = true;
  /** When the last task that holds the lock of a VM's configuration ends, by VMID. */
  private readonly locks = new Map<number, number>();
  private readonly chance: Chance;
  /** Called when a VM was migrated. */
  onMigrated: () => void = () => undefined;
  /** Creates the guest of a VM, as its disk says. */
  inhabit: (vm: Vm) => void = () => undefined;

  constructor(time: VirtualTime, faults: Faults, watcher: Watcher, seed: number) {
    this.time = time;
    this.faults = faults;
    this.watcher = watcher;
    this.chance = new Chance(seed, "data centre");
    this.look();
  }

  add(vm: NewVm): Vm {
    const blank = {
      tags: [],
      notes: "",
      pool: undefined,
      template: false,
      onBoot: false,
      running: false,
      lock: undefined,
      word: undefined,
      ha: false,
      seen: undefined,
    };
    const made: Vm = {
      ...blank,
      revision: 1,
      readAt: -Infinity,
      runsSince: -Infinity,
      seenAt: this.time.elapsed(),
      disk: new Map(),
      attached: new Map(),
      guest: undefined,
      ...vm,
    };
    this.vms.set(made.vmid, made);
    return made;
  }

  uuid(): string {
    const { chance } = this;
    return [8, 4, 4, 4, 12].map((digits) => chance.hex(digits)).join("-");
  }

  start(vm: Vm): string {
    const asked = this.time.elapsed();
    return this.task("qmstart", vm, this.chance.between(500, 4000), () => {
      if (vm.lock !== undefined) return `VM is locked (${vm.lock})`;
      if (vm.running) return `VM ${vm.vmid} already running`;
      this.inHaTime(vm, () => this.powerOn(vm, asked));
      return undefined;
    });
  }

  /** @param asked when the start was requested, in milliseconds of the story */
  powerOn(vm: Vm, asked = this.time.elapsed()): void {
    if (vm.running || this.vms.get(vm.vmid) !== vm) return;
    vm.running = true;
    vm.runsSince = this.time.elapsed();
    vm.word = undefined;
    this.watcher.availability.vmStarted(vm, asked);
    vm.guest?.boot();
  }

  /**
   * Under HA a task only changes the state that the HA manager wants: the task ends at once, and the effect follows
   * later.
   */
  private inHaTime(vm: Vm, effect: () => void): void {
    if (vm.ha) this.time.after(this.chance.between(2000, 25_000), effect);
    else effect();
  }

  /** Asks the guest to shut down; cuts the power when it has not done so in time. */
  shutdown(vm: Vm, seconds: number, force: boolean, by: Process): string {
    const obeys = !this.chance.happens(0.05);
    const takes = obeys ? this.chance.between(1000, 10_000) : seconds * 1000;
    return this.task("qmshutdown", vm, Math.min(takes, seconds * 1000), () => {
      if (vm.lock !== undefined) return `VM is locked (${vm.lock})`;
      if (!obeys && !force) return "VM quit/powerdown failed - got timeout";
      this.inHaTime(vm, () => this.powerOff(vm, by));
      return undefined;
    });
  }

  stop(vm: Vm, by: Process): string {
    for (const task of this.tasks.values())
      if (task.type === "qmshutdown" && task.vmid === vm.vmid) task.overruled = true;
    return this.task("qmstop", vm, this.chance.between(300, 1500), () => {
      if (vm.lock !== undefined && vm.running) return `VM is locked (${vm.lock})`;
      this.inHaTime(vm, () => this.powerOff(vm, by));
      return undefined;
    });
  }

  /** Makes a linked clone: off, with the requested name and Proxmox pool, and the tags of its template. */
  clone(template: Vm, vm: { vmid: number; host: string; name: string; pool: string }): string {
    const made = this.add({ ...vm, owner: "ours", uuid: this.uuid(), tags: [...template.tags], lock: "clone" });
    made.disk.set("image", template.name);
    this.inhabit(made);
    return this.task("qmclone", made, this.chance.between(1000, 8000), () => {
      made.lock = undefined;
      return undefined;
    });
  }

  destroy(vm: Vm): string {
    return this.task("qmdestroy", vm, this.chance.between(500, 2000), () => {
      if (vm.lock !== undefined) return `VM is locked (${vm.lock})`;
      if (vm.running) return `VM ${vm.vmid} is running - destroy failed`;
      this.vms.delete(vm.vmid);
      return undefined;
    });
  }

  /** An unrequested loss of power: the host failed, or the plug was pulled. */
  powerCut(vm: Vm): void {
    if (!vm.running) return;
    vm.running = false;
    vm.word = undefined;
    vm.guest?.powerLost();
  }

  /** Somebody, or HA, migrates a VM to the other host. */
  migrate(vm: Vm): void {
    vm.host = vm.host === "pve1" ? "pve2" : "pve1";
    this.onMigrated();
  }

  /** Whether any task runs. */
  isBusy(): boolean {
    return [...this.tasks.values()].some(({ exit }) => exit === undefined);
  }

  /** Whether a VM is so new that the statistics daemon has not polled it. */
  isUnlisted(): boolean {
    return [...this.vms.values()].some(({ seen, host }) => seen === undefined && !this.silent.has(host));
  }

  private powerOff(vm: Vm, by: Process): void {
    if (!vm.running) return;
    this.watcher.vmStops(vm, by);
    vm.running = false;
    vm.word = undefined;
    vm.guest?.powerLost();
  }

  /** Milliseconds until the lock of a VM's configuration is free. */
  lockedFor(vmid: number): number {
    return Math.max(0, (this.locks.get(vmid) ?? 0) - this.time.elapsed());
  }

  private task(type: string, vm: Vm, ms: number, effect: () => string | undefined): string {
    const serial = (this.tasks.size + 1).toString(16).toUpperCase().padStart(8, "0");
    const upid = `UPID:${vm.host}:${serial}:00000001:00000001:${type}:${vm.vmid}:eg@pve!sim:`;
    const task: Task = { upid, type, vmid: vm.vmid, exit: undefined, overruled: false };
    this.tasks.set(upid, task);
    // A shutdown holds no lock: a stop can overrule it.
    const takes = type === "qmshutdown" ? ms : this.lockedFor(vm.vmid) + ms;
    if (type !== "qmshutdown") this.locks.set(vm.vmid, this.time.elapsed() + takes);
    const end = type === "qmclone" ? "OK" : this.faults.taskEnd();
    this.time.after(takes, () => {
      if (vm.ha === "error" && /^qm(start|shutdown|stop)$/.test(type))
        task.exit = `command 'ha-manager crm-command stop vm:${vm.vmid} 0' failed: exit code 255`;
      else if (task.overruled) task.exit = "received interrupt";
      else if (this.vms.get(vm.vmid) !== vm)
        task.exit = `Configuration file 'nodes/${vm.host}/qemu-server/${vm.vmid}.conf' does not exist`;
      else if (end.startsWith("can't lock")) task.exit = end;
      else task.exit = effect() ?? end;
    });
    return upid;
  }

  private look(): void {
    const now = this.time.elapsed();
    for (const vm of this.vms.values()) {
      if (!this.silent.has(vm.host)) {
        vm.seen = { name: vm.name, running: vm.running, template: vm.template };
        vm.seenAt = now;
        // A template keeps its name: without it no run would begin.
      } else if (now - vm.seenAt > keptMs && !vm.template) vm.seen = undefined;
    }
    this.time.after(statusInterval, () => this.look());
  }
}
