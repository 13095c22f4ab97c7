/** The calls of a lab's control socket. */
import type { HoldOrder, Seen } from "./boundaries.ts";
import type { ProbeReport } from "./load/prober.ts";
import type { WorkloadOptions } from "./load/workload.ts";
import type { LonghornOptions } from "./longhorn/objects.ts";
import type { BakeFault, ImageFault, Profile, QemuState, SnapshotFault } from "./types.ts";
import type { MemberFact, NodeFact, PoolLimits, Violation } from "./watcher/model.ts";

export interface VmStatus {
  vmid: number;
  /** Proxmox host that it is on. */
  node: string;
  name: string;
  /** Image on its disk; undefined: nothing bootable. */
  image: string | undefined;
  /** Proxmox pool. */
  pool: string | undefined;
  template: boolean;
  running: boolean;
  agentUp: boolean;
  tags: string[];
}

export interface LabStatus {
  name: string;
  prefix: string;
  profile: Profile["name"];
  version: string;
  /** When the lab was started, ISO 8601. */
  since: string;
  pid: number;
  /** Proxmox VE API. */
  endpoint: string;
  /** Address of the Kubernetes API and of RKE2's supervisor, in front of the ready servers. */
  registration: string;
  vms: VmStatus[];
  nodes: NodeFact[];
  members: MemberFact[];
  /** API requests since the start: all of them, those of the engine's provider, and all by `METHOD endpoint`. */
  requests: { total: number; ofProvider: number; byEndpoint: Record<string, number> };
  /** Requests to both APIs that a `hold` order counts. */
  boundaries: Seen;
  /** Those of them that had the token of bakes. */
  bakeBoundaries: Seen;
  probe: ProbeReport;
  /** Pods that went through the eviction API since the last reset of the watcher. */
  evicted: number;
  violations: Violation[];
  /** Pods of the workload that are wanted, and that are ready; undefined: not deployed. */
  load: { wanted: number; ready: number } | undefined;
  /** Memory of all processes of the lab, in bytes. */
  memoryBytes: number;
}

export interface LabEvent {
  /** Grows by one with every event. */
  number: number;
  /** ISO 8601. */
  at: string;
  kind: "vm" | "node" | "load" | "violation" | "fault" | "lab";
  text: string;
}

/** A pattern over `METHOD path`, e.g. `POST nodes/.*\/status/start`. */
export type RequestPattern = string;

/** Events of VMs and hosts that occur in any data centre and are not caused by the tool under test. */
export type OutsideOrder =
  /** Sets the state of QEMU; `running` restores it. A VM that is off can be in `prelaunch`, as during its backup. */
  | { kind: "vm-state"; vm: number | string; state: QemuState }
  /** An operation locks the VM: `backup`, `snapshot`, `migrate`; absent: the lock is removed. */
  | { kind: "lock-vm"; vm: number | string; lock?: string }
  /** Moves the VM to another Proxmox host; a running VM keeps running. */
  | { kind: "migrate-vm"; vm: number | string; host: string }
  /** HA keeps the VM in its current state, or no longer manages it. */
  | { kind: "ha-vm"; vm: number | string; managed: boolean }
  /** Moves the VM to another Proxmox pool, or out of every pool, where the token does not see it. */
  | { kind: "pool-vm"; vm: number | string; pool?: string }
  /** Cuts the power of a host, until `host-on` or until the faults are cleared. */
  | { kind: "host-off"; host: string }
  | { kind: "host-on"; host: string }
  /** The Proxmox cluster has no quorum: everything can be read, nothing written. */
  | { kind: "no-quorum" };

/** A fault to inject on demand. A rule on requests applies until the faults are cleared. */
export type FaultOrder =
  | { kind: "full-storage"; storage?: string }
  /** Fault of a template's guests from their next boot on; `no-agent` and `none` besides the faults of images. */
  | {
      kind: "image";
      template: string;
      fault: ImageFault | "no-agent" | "none";
    }
  /** A fault of the guests of bakes, from now on. */
  | ({ kind: "bake" } & BakeFault)
  /** A fault of requested etcd snapshots. */
  | { kind: "snapshot"; fault: SnapshotFault }
  /** The private registry (registry.lab.test, user `puller`) expects this password from now on. */
  | { kind: "registry"; password: string }
  /** No server is reachable through the registration address. */
  | { kind: "registration-down" }
  | { kind: "revoke-privilege"; privilege: string }
  | { kind: "revoke-token" }
  /** A VM that does not belong to the tool; in a Proxmox pool of ours the token can see it. */
  | { kind: "stranger"; vmid: number; name?: string; tags?: string[]; pool?: string }
  /** A new template: an image that was built with this RKE2, named after its version. */
  | { kind: "template"; vmid: number; version: string; rke2: string; units?: string[] }
  | { kind: "delete-vm"; vm: number | string }
  | { kind: "stop-vm"; vm: number | string }
  | { kind: "start-vm"; vm: number | string }
  /** A command at the console of a guest; the answer is its output. lab/guest/console.ts has the commands. */
  | { kind: "console"; vm: number | string; command: string }
  | { kind: "rename-vm"; vm: number | string; name: string }
  | { kind: "tag-vm"; vm: number | string; tags: string[] }
  | OutsideOrder
  | { kind: "latency"; milliseconds: number; match?: RequestPattern }
  /** The n-th request that matches from now on, counted from 1, and those after it up to `times` in all (default 1). */
  | { kind: "answer"; match: RequestPattern; nth: number; times?: number; status: number; reason: string }
  | { kind: "drop"; match: RequestPattern; nth: number; times?: number; when: "before" | "after" }
  /**
   * The n-th request that changes or reads something is held, before its effect or between its effect and its answer,
   * and is cut when the faults are cleared. An event reports that it is held. Applies to requests to Proxmox and to the
   * supervisor and, with the option `audit`, to Kubernetes; not to requests of the lab itself.
   */
  | ({ kind: "hold" } & HoldOrder)
  /** The n-th task of a type (`qmclone`, `qmstart`, ...) from now on ends with this exit status. */
  | { kind: "fail-task"; type: string; nth: number; times?: number; text: string };

/** All calls, by method and path, with their body and answer. */
export interface ControlCalls {
  "GET /status": { body: undefined; answer: LabStatus };
  "GET /events": { body: undefined; answer: LabEvent[] };
  "POST /stop": { body: undefined; answer: object };
  "POST /profile": { body: { profile: Profile["name"] }; answer: object };
  "POST /faults": { body: FaultOrder; answer: { said: string } };
  "DELETE /faults": { body: undefined; answer: object };
  "POST /load": { body: Partial<WorkloadOptions>; answer: object };
  /** Installs Longhorn on the agents, or changes its options. */
  "POST /longhorn": { body: Partial<LonghornOptions>; answer: object };
  "POST /probe/reset": { body: undefined; answer: object };
  "POST /watcher/reset": { body: undefined; answer: object };
  "POST /watcher/limits": { body: Record<string, PoolLimits>; answer: object };
  /** Waits up to `seconds` for the end state to be correct; what is still wrong becomes a violation. */
  "POST /watcher/finish": { body: { seconds: number }; answer: Violation[] };
}

export type ControlName = keyof ControlCalls;
