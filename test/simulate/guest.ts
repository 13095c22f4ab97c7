import { createHash } from "node:crypto";
import { parse } from "yaml";
import { guest as files, unitOfRegistries } from "../../images/contract.ts";
import type { Chance } from "./chance.ts";
import type { Cluster } from "./cluster.ts";
import type { Vm } from "./data-centre.ts";
import { memberName } from "./etcd.ts";
import { database, Server } from "./server.ts";

/** An image and its defect. */
export interface Image {
  name: string;
  rke2: string;
  fault: "never-ready" | "no-agent" | undefined;
  /** Units that not every image has. @default all of them */
  units?: readonly string[];
}

export interface JoinData {
  "node-name": string;
  "node-label": string[];
  token?: string;
  server?: string;
}

/** A file on the disk that shows that RKE2 has joined: its certificates are there, so it needs no token again. */
const joinedFile = "/var/lib/rancher/rke2/agent/client-kubelet.crt";

/**
 * The system in a VM: the guest agent, and RKE2 once it has its join data. Everything that runs ends with the power.
 */
export class Guest {
  agentUp = false;
  /** A backup or a snapshot has frozen its file systems: the agent refuses every file command. */
  frozen = false;
  /** Name of the node whose kubelet runs here. */
  node: string | undefined;
  /** Its part in the control plane, when it is a server. */
  server: Server | undefined;
  /** Whether the unit for registries is at work. */
  private reloads = false;
  private boots = 0;
  private readonly vm: Vm;
  private readonly image: Image;
  private readonly cluster: Cluster;
  private readonly chance: Chance;

  constructor(vm: Vm, image: Image, cluster: Cluster, chance: Chance) {
    this.vm = vm;
    this.image = image;
    this.cluster = cluster;
    this.chance = chance;
  }

  boot(): void {
    this.boots += 1;
    this.reloads = false;
    this.later(this.chance.between(2000, 15_000), () => {
      this.agentUp = this.image.fault !== "no-agent";
      this.obeyMarker();
    });
  }

  powerLost(): void {
    this.boots += 1;
    this.reloads = false;
    this.agentUp = false;
    this.frozen = false;
    this.stopRke2();
  }

  /** The agent hangs for this many milliseconds. */
  hang(ms: number): void {
    if (!this.agentUp) return;
    this.agentUp = false;
    this.later(ms, () => (this.agentUp = true));
  }

  /** The whole guest is suspended, so the agent does not answer. @returns a function that resumes it */
  freeze(): () => void {
    const { boots } = this;
    const was = this.agentUp;
    this.agentUp = false;
    return () => {
      if (this.boots === boots && this.vm.running) this.agentUp ||= was;
    };
  }

  read(file: string): string | undefined {
    const { name: image, rke2, units = [unitOfRegistries] } = this.image;
    if (file === files.image) return JSON.stringify({ image, rke2, kernel: "6.8.0", units });
    return this.vm.disk.get(file);
  }

  write(file: string, content: string): void {
    this.vm.disk.set(file, content);
    if (file === files.marker) this.obeyMarker();
    if (file === files.yield) this.obeyYield();
    if (file === files.registriesReload) this.obeyReload();
  }

  /** Makes it a server that has existed for long: its RKE2 runs, and its files are there. */
  plantServer(data: JoinData): void {
    this.agentUp = true;
    this.node = data["node-name"];
    this.vm.disk.set(database, memberName({ node: this.node, uuid: this.vm.uuid }));
    this.server = this.newServer();
    this.server.plant(data);
  }

  /** The marker carries the hash of the join data: incomplete join data is never used. */
  private obeyMarker(): void {
    const data = this.vm.disk.get(files.join) ?? "";
    const marker = this.vm.disk.get(files.marker) ?? "";
    if (data === "" && marker === "") {
      for (const file of [joinedFile, files.kubeconfig, files.serverToken]) this.vm.disk.delete(file);
      this.stopRke2();
    } else if (marker.trim().endsWith(createHash("sha256").update(data).digest("hex"))) {
      this.startRke2(parse(data) as JoinData, marker.startsWith("server"));
    }
  }

  /** The systemd unit that takes a server out of the registration address, and back in. */
  private obeyYield(): void {
    const wish = this.vm.disk.get(files.yield) ?? "";
    this.later(this.chance.between(500, 3000), () => {
      if (wish !== this.vm.disk.get(files.yield)) return;
      this.server?.yield(wish !== "");
      this.vm.disk.set(files.yielded, wish);
    });
  }

  /**
   * The systemd unit that restarts RKE2 for other registries: containers go on. A server is modelled as if its own part
   * in the control plane did not, as long as there are others.
   */
  private obeyReload(): void {
    const { disk } = this.vm;
    const wish = disk.get(files.registriesReload) ?? "";
    if (this.reloads || this.image.units?.includes(unitOfRegistries) === false) return;
    this.reloads = true;
    this.later(this.chance.between(500, 3000), () => {
      const content = disk.get(files.registries) ?? "";
      if (wish === "" || createHash("sha256").update(content).digest("hex") !== wish) {
        this.reloads = false;
        return;
      }
      const ms = this.chance.between(2000, 20_000);
      const { node, server, cluster } = this;
      const isOne = server !== undefined && cluster.control.etcd.voters().length > 1;
      if (isOne) server.partition(ms);
      const goesOn = isOne || node === undefined ? () => undefined : cluster.nodes.stall(node);
      this.later(ms, () => {
        goesOn();
        disk.set(files.registriesLoaded, wish);
        this.reloads = false;
        // Another order may have come meanwhile.
        if (disk.get(files.registriesReload) !== wish) this.obeyReload();
      });
    });
  }

  private newServer(): Server {
    return new Server(this.vm, this.image, this.cluster.control, this.chance, this.boots);
  }

  private startRke2(data: JoinData, isServer: boolean): void {
    if (this.node !== undefined) return;
    if (isServer) {
      this.node = data["node-name"];
      this.server = this.newServer();
      this.server.start(data);
      return;
    }
    this.later(this.chance.between(2000, 20_000), () => this.register(data));
  }

  private register(data: JoinData): void {
    if (this.node !== undefined || this.vm.disk.get(files.join) === "") return;
    const { cluster, vm } = this;
    const name = data["node-name"];
    const admitted = vm.disk.has(joinedFile) || cluster.admits(data.token ?? "");
    if (!admitted || !cluster.nodes.register(name, data["node-label"], vm.uuid, this.image.rke2, this.boots)) {
      vm.disk.set(files.log, "join refused by the supervisor\n");
      this.later(5000, () => this.register(data));
      return;
    }
    vm.disk.set(joinedFile, "yes");
    this.node = name;
    cluster.nodes.speaks(name, this.image.fault === "never-ready" ? undefined : this.chance.between(2000, 15_000));
  }

  private stopRke2(): void {
    const { node, server } = this;
    this.node = undefined;
    this.server = undefined;
    server?.stop();
    if (node !== undefined && server === undefined) this.cluster.nodes.silent(node);
  }

  /** Runs a task later, unless this boot has ended by then. */
  private later(ms: number, task: () => void): void {
    const { boots } = this;
    this.cluster.time.after(ms, () => {
      if (this.boots === boots && this.vm.running) task();
    });
  }
}
