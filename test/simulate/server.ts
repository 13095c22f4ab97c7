import { guest as files } from "../../images/contract.ts";
import { labels } from "../../src/domain/model/formats.ts";
import type { Chance } from "./chance.ts";
import type { ControlPlane } from "./control-plane.ts";
import type { Vm } from "./data-centre.ts";
import { memberName } from "./etcd.ts";
import type { Image, JoinData } from "./guest.ts";

/** A file of a server's disk, beside etcd's data: it shows that the server was a member once, and of which name. */
export const database = files.member;

/** RKE2 in the VM of a server: a member of etcd, an API server, a kubelet. */
export class Server {
  readonly vm: Vm;
  readonly address: string;
  /** Whether its API server and its supervisor answer. */
  serves = false;
  /** Whether the registration address sends no requests to it. */
  yielding = false;
  node = "";
  private runs = true;
  private cutOff = false;
  private readonly image: Image;
  private readonly control: ControlPlane;
  private readonly chance: Chance;
  private readonly boot: number;

  constructor(vm: Vm, image: Image, control: ControlPlane, chance: Chance, boot: number) {
    this.vm = vm;
    this.address = addressOf(vm.vmid);
    this.image = image;
    this.control = control;
    this.chance = chance;
    this.boot = boot;
    control.servers.add(this);
  }

  /** Makes it a server that has existed for long. */
  plant(data: JoinData): void {
    this.node = data["node-name"];
    this.control.etcd.plant({ node: this.node, address: this.address, uuid: this.vm.uuid });
    this.register(data, 0);
    this.serve();
  }

  start(data: JoinData): void {
    this.node = data["node-name"];
    this.later(this.chance.between(2000, 20_000), () => this.enter(data));
  }

  /** RKE2 ends, with the power or because its join data was wiped. */
  stop(): void {
    this.runs = false;
    this.stopControlPlane("stopped");
    this.control.servers.delete(this);
  }

  /** Ends the API server, and the kubelet reports to no server. RKE2 does this, too, once its member was removed. */
  stopControlPlane(why: "removed" | "stopped"): void {
    if (this.serves) this.control.ends(this, why);
    this.serves = false;
    this.control.etcd.stop(this.vm.uuid);
    this.control.cluster.nodes.silent(this.node);
  }

  yield(on: boolean): void {
    this.yielding = on;
    if (on) this.control.etcd.yields(this.vm.uuid);
  }

  /** No other machine reaches it for this many milliseconds. */
  partition(ms: number): void {
    if (!this.serves || this.cutOff) return;
    this.cutOff = true;
    this.serves = false;
    this.control.ends(this, "stopped");
    this.control.etcd.stop(this.vm.uuid);
    this.control.cluster.nodes.flap(this.node, ms);
    this.later(ms, () => {
      this.cutOff = false;
      if (this.control.etcd.start(this.vm.uuid)) this.awaitVote();
    });
  }

  private enter(data: JoinData): void {
    const { control, vm } = this;
    const { uuid } = vm;
    if (vm.disk.has(database)) {
      // "member has been permanently removed" is final for a server (rke2#1874).
      if (control.etcd.member(uuid) === undefined)
        vm.disk.set(files.log, "etcd: the member has been permanently removed\n");
      else this.begin(data);
      return;
    }
    if (data.server === undefined) {
      this.found(data);
      return;
    }
    const refusal = control.whyRefused(data) ?? control.etcd.add({ node: this.node, address: this.address, uuid });
    if (refusal === undefined) {
      vm.disk.set(database, memberName({ node: this.node, uuid }));
      control.watcher.joined(this.node, uuid);
      this.later(this.chance.between(1000, 4000), () => this.begin(data));
      return;
    }
    vm.disk.set(files.log, `${refusal}\n`);
    this.later(5000, () => this.enter(data));
  }

  /** RKE2 whose join data names no server makes a cluster of its own, whatever others there are. */
  private found(data: JoinData): void {
    const { uuid } = this.vm;
    this.vm.disk.set(database, memberName({ node: this.node, uuid }));
    this.control.watcher.founds(this.node, uuid);
    // Only one cluster is modelled: that of another founder is over before it begins.
    if (this.control.etcd.members.length > 0) return;
    this.control.etcd.plant({ node: this.node, address: this.address, uuid });
    this.later(this.chance.between(1000, 4000), () => this.begin(data));
  }

  private begin(data: JoinData): void {
    if (!this.control.etcd.start(this.vm.uuid)) return;
    this.later(this.chance.between(500, 5000), () => this.register(data, this.chance.between(2000, 15_000)));
    this.awaitVote();
  }

  /** Its API server serves some time after its member has a vote. */
  private awaitVote(): void {
    const member = this.control.etcd.member(this.vm.uuid);
    if (member === undefined) return;
    if (member.learner) this.later(1000, () => this.awaitVote());
    else this.later(this.chance.between(2000, 9000), () => this.serve());
  }

  private serve(): void {
    if (this.cutOff || this.control.etcd.member(this.vm.uuid)?.upSince === undefined) return;
    this.serves = true;
    this.control.managers.serves(this);
    this.vm.disk.set(files.kubeconfig, this.control.kubeconfig);
    this.vm.disk.set(files.serverToken, this.control.token);
    this.control.tell(this.node);
  }

  private register(data: JoinData, readyAfter: number): void {
    const { nodes } = this.control.cluster;
    const roles = [...data["node-label"], `${labels.server}=true`];
    if (this.control.etcd.member(this.vm.uuid) === undefined) return;
    if (!nodes.register(this.node, roles, this.vm.uuid, this.image.rke2, this.boot)) return;
    nodes.reachAt(this.node, this.address);
    this.control.tell(this.node);
    nodes.speaks(this.node, this.image.fault === "never-ready" ? undefined : readyAfter);
  }

  /** Runs a task later, unless this run of RKE2 has ended by then. */
  private later(ms: number, task: () => void): void {
    this.control.cluster.time.after(ms, () => {
      if (this.runs) task();
    });
  }
}

/** Servers get the address that belongs to their VMID. */
export function addressOf(vmid: number): string {
  return `10.0.1.${vmid - 990}`;
}
