/** What is said over a lab's control socket. */
import type { HoldOrder, Seen } from "./boundaries.ts";
import type { ProbeReport } from "./load/prober.ts";
import type { WorkloadOptions } from "./load/workload.ts";
import type { LonghornOptions } from "./longhorn/objects.ts";
import type { ImageFault, Profile, QemuState, SnapshotFault } from "./types.ts";
import type { MemberFact, NodeFact, PoolLimits, Violation } from "./watcher/model.ts";

export interface VmStatus {
  vmid: number;
  name: string;
  /** Image on its disk; undefined: nothing that boots. */
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
  /** API requests since the start: all of them, and by `METHOD endpoint`. */
  requests: { total: number; byEndpoint: Record<string, number> };
  /** Requests to both APIs whose boundaries `hold` knows. */
  boundaries: Seen;
  probe: ProbeReport;
  /** Pods that went through the eviction API since the last reset of the watcher. */
  evicted: number;
  violations: Violation[];
  /** Pods of the workload that should be, and that are ready; undefined: not deployed. */
  load: { wanted: number; ready: number } | undefined;
  /** The lab's processes together, in bytes. */
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

/** What happens to VMs and hosts in any data centre, and is nothing of the tool's. */
export type OutsideOrder =
  /** The state of QEMU: `running` ends it. A VM that is off can be in `prelaunch`, as one that is backed up. */
  | { kind: "vm-state"; vm: number | string; state: QemuState }
  /** Something holds the VM: `backup`, `snapshot`, `migrate`; absent: nothing does any more. */
  | { kind: "lock-vm"; vm: number | string; lock?: string }
  /** To another Proxmox host, running on. */
  | { kind: "migrate-vm"; vm: number | string; host: string }
  /** HA keeps the VM in the state that it is in now, or has nothing to do with it any more. */
  | { kind: "ha-vm"; vm: number | string; managed: boolean }
  /** Into another Proxmox pool, or out of every pool: the token does not see it then. */
  | { kind: "pool-vm"; vm: number | string; pool?: string }
  /** A host loses its power, until `host-on` or the faults are cleared. */
  | { kind: "host-off"; host: string }
  | { kind: "host-on"; host: string }
  /** The Proxmox cluster has no quorum: all can be read, nothing written. */
  | { kind: "no-quorum" };

/** Something that goes wrong on demand. A rule on requests holds until the faults are cleared. */
export type FaultOrder =
  | { kind: "full-storage"; storage?: string }
  /** What guests of a template do from their next boot on; `no-agent` and `none` beside the image's own faults. */
  | {
      kind: "image";
      template: string;
      fault: ImageFault | "no-agent" | "none";
    }
  /** What goes wrong with snapshots of etcd that are asked for. */
  | { kind: "snapshot"; fault: SnapshotFault }
  /** Nobody is reached through the registration address. */
  | { kind: "registration-down" }
  | { kind: "revoke-privilege"; privilege: string }
  | { kind: "revoke-token" }
  /** A VM of somebody else; in a Proxmox pool of ours the token can see it. */
  | { kind: "stranger"; vmid: number; name?: string; tags?: string[]; pool?: string }
  /** A new template: an image that was baked with this RKE2, named after its version. */
  | { kind: "template"; vmid: number; version: string; rke2: string }
  | { kind: "delete-vm"; vm: number | string }
  | { kind: "stop-vm"; vm: number | string }
  | { kind: "start-vm"; vm: number | string }
  /** A command at the console of a guest; what it writes is the answer. lab/guest/console.ts has the commands. */
  | { kind: "console"; vm: number | string; command: string }
  | { kind: "rename-vm"; vm: number | string; name: string }
  | { kind: "tag-vm"; vm: number | string; tags: string[] }
  | OutsideOrder
  | { kind: "latency"; milliseconds: number; match?: RequestPattern }
  /** The n-th request that matches from now on, counted from 1, and as many after it as `times` says (default 1). */
  | { kind: "answer"; match: RequestPattern; nth: number; times?: number; status: number; reason: string }
  | { kind: "drop"; match: RequestPattern; nth: number; times?: number; when: "before" | "after" }
  /**
   * The n-th request that changes or reads something waits, before its effect or after it and before its answer, and
   * is cut when the faults are cleared. An event tells that it waits. Requests to Proxmox and to the supervisor, and with
   * the option `audit` those to Kubernetes; not those of the lab itself.
   */
  | ({ kind: "hold" } & HoldOrder)
  /** The n-th task of a type (`qmclone`, `qmstart`, ...) from now on ends with this exit status. */
  | { kind: "fail-task"; type: string; nth: number; times?: number; text: string };

/** Each call: method and path, what is sent, what is answered. */
export interface ControlCalls {
  "GET /status": { body: undefined; answer: LabStatus };
  "GET /events": { body: undefined; answer: LabEvent[] };
  "POST /stop": { body: undefined; answer: object };
  "POST /profile": { body: { profile: Profile["name"] }; answer: object };
  "POST /faults": { body: FaultOrder; answer: { said: string } };
  "DELETE /faults": { body: undefined; answer: object };
  "POST /load": { body: Partial<WorkloadOptions>; answer: object };
  /** Puts Longhorn on the agents, or changes what it does. */
  "POST /longhorn": { body: Partial<LonghornOptions>; answer: object };
  "POST /probe/reset": { body: undefined; answer: object };
  "POST /watcher/reset": { body: undefined; answer: object };
  "POST /watcher/limits": { body: Record<string, PoolLimits>; answer: object };
  /** Waits up to `seconds` for the end state to be right; what is not becomes a violation. */
  "POST /watcher/finish": { body: { seconds: number }; answer: Violation[] };
}

export type ControlName = keyof ControlCalls;
