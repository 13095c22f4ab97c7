/** The interfaces of the data centre in a box: between the emulated Proxmox VE and the guests that run in its VMs. */

/** The content of an image, as data: what a clone of the template boots with. */
export interface ImageContent {
  /** `ubuntu-24.04-rke2-v1.0.0` */
  name: string;
  /** RKE2 in the image, as the kubelet reports it: `v1.34.4+rke2r1`. */
  rke2: string;
  kernel: string;
  osImage: string;
  /** Units that not every image has; absent: none of them. */
  units?: readonly string[];
  /** False: the image has no qemu-guest-agent, or its agent never starts. */
  agent: boolean;
  /** Fault of guests of this image; absent: none. */
  fault?: ImageFault;
  /** A distribution's cloud image: all that a bake made of it is on the disk. Absent: an image that came ready. */
  base?: {
    /** `20260725` */
    date: string;
    /** Whether it has the guest agent. Ubuntu's own has not: there it comes with the packages of the first bake. */
    hasAgent: boolean;
  };
}

/** `learner-stalls`: as a server it never catches up with the others; `clock-behind`: its clock is a day behind. */
export type ImageFault =
  "never-ready" | "wrong-kubelet" | "never-boots" | "crash-after-ready" | "learner-stalls" | "clock-behind";

/**
 * A fault of the guests of bakes, in a stage of a bake or of its sealing or for all of it. `hang`: nothing comes any more,
 * though the agent answers; `timeout`: the guest's own deadline ends the stage; `dies`: the kernel stops, the machine goes
 * on; `cut-artefact`: files of RKE2's release end early; `no-archive`: the archive does not have the date.
 */
export type BakeFault =
  | { fault: "hang" | "timeout" | "dies" | "power-cut"; stage: string; output?: undefined }
  | { fault: "fails"; stage: string; output?: string[] }
  | { fault: "no-agent" | "cut-artefact" | "no-archive" };

/**
 * Faults of etcd snapshots for which RKE2 reports success: an empty file; never ready to use; nothing in the bucket;
 * half of the file in the bucket; one wrong byte in the bucket.
 */
export type SnapshotFault = "empty" | "never-ready" | "lost-upload" | "cut-upload" | "spoilt-upload";

/** Storage of VM disks: only a directory gives its volume ids an extension. */
export type StorageKind = "dir" | "lvmthin" | "zfspool" | "rbd";

/** QEMU's state of an existing process; a VM that is backed up while it is off is in `prelaunch`. */
export type QemuState = "running" | "paused" | "prelaunch" | "io-error" | "inmigrate" | "save-vm";

/** What a guest finds on its cloud-init drive (NoCloud), already parsed from the VM's configuration. */
export interface CloudInit {
  hostname: string;
  /** From `ipconfig0`: address without prefix length; undefined for DHCP or none. */
  address: string | undefined;
  /** The same of IPv6; `auto` and `dhcp` as they are. Absent: cloud-init says nothing of IPv6. */
  address6?: string;
  gateway: string | undefined;
}

/** A virtual machine as its guest sees it. */
export interface Machine {
  vmid: number;
  name: string;
  /** SMBIOS uuid. */
  uuid: string;
  cores: number;
  memoryMiB: number;
  image: ImageContent;
  cloudInit: CloudInit;
  /** Bytes of the CD in its drive; absent: none that the lab knows the bytes of. */
  cd?: Buffer;
  /** Address of its first network card. */
  mac?: string;
  /** The guest's own disk: absolute path to content. Survives a power cycle, is destroyed with the VM. */
  disk: Map<string, Buffer>;
}

/** Thrown by an agent call; the emulator turns it into Proxmox's answer with this text. */
export class AgentError extends Error {
  override readonly name = "AgentError";
}

/** What the agent says of a program that it was told to start. */
export interface ExecStatus {
  exited: boolean;
  /** Once it has ended, with what it wrote to its standard output and error. */
  code?: number;
  out?: Buffer;
  err?: Buffer;
}

/** A running guest. Everything of it ends at power off. */
export interface Guest {
  /** True once the guest agent answers. */
  readonly agentUp: boolean;
  /** Non-loopback interfaces as `network-get-interfaces` reports them. */
  interfaces(): {
    name: string;
    mac: string;
    addresses: { address: string; prefix: number; family: "ipv4" | "ipv6" }[];
  }[];
  /** @throws AgentError in qemu-ga's words */
  readFile(path: string): Buffer;
  /** @throws AgentError in qemu-ga's words */
  writeFile(path: string, content: Buffer): void;
  /**
   * Starts a program with arguments and standard input. @returns its process id
   * @throws AgentError in qemu-ga's words when there is no such program
   */
  exec(command: readonly string[], input: Buffer | undefined): number;
  /** @throws AgentError in qemu-ga's words for a process that it does not know */
  execStatus(pid: number): ExecStatus;
  /** Runs a command in a root shell at its console. @returns its output. @throws Error in the command's words */
  run(command: string): Promise<string>;
  /** ACPI shutdown: resolves when the guest is off; never resolves when the guest ignores it. */
  shutdown(): Promise<void>;
  /** Power off: no part of the guest runs when this resolves. */
  powerOff(): Promise<void>;
  /** Resolves when the machine ends without anybody's request, as by a power cut; absent: it never does. */
  readonly ended?: Promise<undefined>;
}

/** Starts guests. The emulator calls it when a VM is powered on. */
export interface GuestHost {
  boot(machine: Machine): Guest;
}

/** Durations of a data centre, in milliseconds. */
export interface Profile {
  name: "fast" | "nvme" | "ceph";
  /** Time that a linked clone holds the storage lock. */
  cloneLock: number;
  /** A full clone, beyond the lock. */
  fullClone: number;
  /** Start task. */
  start: number;
  /** Power on until the guest agent answers. */
  boot: number;
  /** Join data until the Node is registered. */
  register: number;
  /** Registered until Ready. */
  ready: number;
  /** ACPI shutdown of a guest. */
  shutdown: number;
  /** Delete task of a stopped VM. */
  destroy: number;
  /** Container start of a pod. */
  podStart: number;
  /** Time that a pod takes to end after SIGTERM. */
  podStop: number;
  /** Rebuild of one Longhorn replica on another node. */
  rebuild: number;
  /** A stage of a bake; those that install packages or import images take several times as long. */
  bakeStage: number;
}
