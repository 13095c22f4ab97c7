/** The objects of an emulated Proxmox VE cluster. */
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
  /** Volume id of a linked clone's base image. */
  parent: string | undefined;
  /** What is installed on it; undefined: nothing bootable. */
  image: ImageContent | undefined;
  /** SHA-256 of a downloaded or uploaded file. */
  checksum: string | undefined;
  /** Its other checksums, by algorithm. */
  digests: Readonly<Record<string, string>> | undefined;
  /** Bytes of an uploaded file. */
  data: Buffer | undefined;
  /** Files that its guest wrote. */
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
  /** Bytes used besides the volumes of this model. */
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
  /** The guest answers in the state `running` only. */
  qemu: QemuState;
  /** Whether the process was started with the agent's channel. */
  agentChannel: boolean;
}

export interface Vm {
  vmid: number;
  node: string;
  config: Map<string, Value>;
  /** Changes that are pending until the next start; null: the option will be deleted. */
  pending: Map<string, Value | null>;
  /** Cloud-init options that changed after the drive was generated, with the value on the drive; null: none. */
  drawn: Map<string, Value | null>;
  /** `/var/lock/qemu-server/lock-<vmid>.conf` */
  lock: FileLock;
  power: Power | undefined;
  /** The state that HA was asked to keep the VM in; undefined: HA does not manage the VM. */
  ha: "started" | "stopped" | undefined;
  /** The last record of the statistics daemon; undefined: none yet. */
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
  /** False: requests to this node answer 595. */
  reachable: boolean;
  bridges: string[];
  /** Address of the host on its first bridge, and the gateway there. @default none */
  network?: { cidr: string; gateway: string };
}

/** Privileges granted on a path. */
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
  /** True: has all privileges, as a token of root@pam without privilege separation. */
  root: boolean;
}

/** What happened to a VM, and the token that requested it. */
export interface VmEvent {
  kind: "created" | "started" | "stopped" | "destroyed" | "configured";
  vmid: number;
  /** Name at that moment; "" when it has none. */
  name: string;
  /** Id of the token that requested it. */
  token: string;
}
