/** What a guest has access to: its machine, its files, and what all guests share. */
import { join } from "node:path";
import type { Web } from "../proxmox/data-centre.ts";
import type { BakeFault, Machine, Profile, SnapshotFault } from "../types.ts";
import type { AuditFlags } from "../audit.ts";
import type { Boundaries } from "../boundaries.ts";
import type { Processes } from "../process.ts";
import type { Balancer } from "./balancer.ts";
import type { Cluster } from "./cluster.ts";
import type { GuestFiles, GuestLog } from "./files.ts";
import type { NodeRuntime } from "./registries.ts";

/** Paths of the real programs that server guests run. */
export interface Binaries {
  etcd: string;
  etcdutl: string;
  kubeApiserver: string;
  kubeControllerManager: string;
  kubeScheduler: string;
}

/** An event in the life of a guest. */
export interface GuestEvent {
  /** `left`: it was removed from the cluster, or its join data was wiped. */
  kind: "booted" | "joined" | "left" | "off";
  vmid: number;
  name: string;
}

/** What all guests of a rack share. */
export interface Surroundings {
  /** First two octets of every address: `127.40`. */
  readonly prefix: string;
  /** Directory for the data of the guests' processes. */
  readonly directory: string;
  readonly profile: Profile;
  readonly binaries: Binaries;
  readonly processes: Processes;
  /** The registration address of a new cluster, among the additional names of its first server. */
  balancerOf(names: readonly string[]): Balancer;
  /** Boundaries at which requests to the supervisor can be held or cut. */
  readonly boundaries: Boundaries;
  /** Flags that make API servers report their requests. */
  readonly audit: AuditFlags;
  /** By the hash of their server CA. */
  readonly clusters: Map<string, Cluster>;
  /** May change at any time. */
  readonly snapshotFault: SnapshotFault | undefined;
  /** May change at any time. */
  readonly bakeFaults: readonly BakeFault[];
  /** The web as guests see it. */
  readonly web: Web;
  /** What the private registry expects. May change at any time. */
  readonly registryPassword: string;
  report(event: GuestEvent): void;
}

/** Directory on the host for the data of a VM's processes. */
export const diskDirectory = (directory: string, vmid: number, uuid: string): string =>
  join(directory, "disks", `${vmid}-${uuid}`);

/** A guest as seen from inside the VM. */
export interface GuestContext {
  readonly rack: Surroundings;
  readonly machine: Machine;
  /** The VM's own address. */
  readonly address: string;
  /** Its IPv6 addresses that other machines could reach, in the order of its kernel. Nothing listens on them. */
  readonly addresses6: readonly string[];
  readonly files: GuestFiles;
  readonly log: GuestLog;
  readonly runtime: NodeRuntime;
  /** The time of the guest's own clock. */
  now(): Date;
}
