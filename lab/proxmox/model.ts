import type { Guest, ImageContent, QemuState } from "../types.ts";
import type { FileLock } from "./locks.ts";

/** A value of a VM's configuration: booleans and integers are numbers, everything else is text. */
export type Value = string | number;

/** A disk image, an ISO or an imported image on a storage. */
export interface Volume {
  /** `local:9000/base-9000-disk-0.qcow2` */
  volid: string;
  content: "images" | "iso" | "import" | "vztmpl";
  /** Owner of a disk image. */
  vmid: number | undefined;
  format: string;
  /** Virtual size in bytes. */
  size: number;
  /** Bytes on the storage. */
  used: number;
  /** Unix time of its creation. */
  ctime: number;
  /** Volume id of the base image that a linked clone stands on. */
  parent: string | undefined;
  /** What is installed on it; undefined: nothing that boots. */
  image: ImageContent | undefined;
  /** SHA-256 of a downloaded or uploaded file. */
  checksum: string | undefined;
  /** Its other checksums, by algorithm. */
  digests: Readonly<Record<string, string>> | undefined;
  /** Bytes of an uploaded file. */
  data: Buffer | undefined;
  /** What its guest wrote. */
  files: Map<string, Buffer>;
}

export interface Storage {
  id: string;
  /** `dir`, `nfs`, `rbd`, `lvmthin`, `zfspool`: decides volume ids, linked clones and locks. */
  type: string;
  /** Root of a directory storage. */
  path: string;
  content: string[];
  shared: boolean;
  /** Bytes. */
  total: number;
  /** Bytes used beside the volumes known here. */
  baseUsed: number;
  volumes: Map<string, Volume>;
  lock: FileLock;
}

/** A VM's running process. */
export interface Power {
  guest: Guest;
  pid: number;
  /** Milliseconds of the monotonic clock at power on. */
  since: number;
  /** Nobody answers in any state but `running`. */
  qemu: QemuState;
  /** Whether the process was started with the agent's channel. */
  agentChannel: boolean;
}

export interface Vm {
  vmid: number;
  node: string;
  config: Map<string, Value>;
  /** Changes that wait for the next start; null: will be deleted. */
  pending: Map<string, Value | null>;
  /** Cloud-init options that changed after the drive was made, with what it still says; null: nothing. */
  drawn: Map<string, Value | null>;
  /** `/var/lock/qemu-server/lock-<vmid>.conf` */
  lock: FileLock;
  power: Power | undefined;
  /** What HA was asked to keep it in; undefined: HA has nothing to do with it. */
  ha: "started" | "stopped" | undefined;
  /** What the statistics daemon saw last; undefined: not yet seen. */
  seen: Record<string, Value> | undefined;
}

export interface Pool {
  id: string;
  comment: string | undefined;
  vms: Set<number>;
  storages: Set<string>;
}

export interface PveNode {
  name: string;
  /** False: requests that go there answer 595. */
  reachable: boolean;
  bridges: string[];
}

/** Privileges given on a path. */
export interface Grant {
  path: string;
  /** A token id `user@realm!name` or a user id. */
  who: string;
  role: string;
  privileges: Set<string>;
  propagate: boolean;
}

export interface Token {
  /** `USER@REALM!ID` */
  id: string;
  secret: string;
  /** True: may do everything, as a token of root@pam without privilege separation. */
  root: boolean;
}

/** What happened to a VM and who asked for it. */
export interface VmEvent {
  kind: "created" | "started" | "stopped" | "destroyed" | "configured";
  vmid: number;
  /** Name at that moment; "" when it has none. */
  name: string;
  /** Token id of the one who asked. */
  token: string;
}
