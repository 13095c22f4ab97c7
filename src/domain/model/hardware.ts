/** The processor of a VM. Absent fields: as the template has it. */
export interface Cpu {
  /** `host`, `x86-64-v3` */
  type?: string;
  /** `+aes`, `-pcid` */
  flags?: readonly string[];
  /** Over which the cores are divided. */
  sockets?: number;
  numa?: boolean;
  /** CPU time of all cores together, in cores. */
  limit?: number;
  /** Weight in the competition for CPU time. */
  units?: number;
}

/** A network card, without its MAC address: that of a clone is its own. Absent fields have Proxmox's default. */
export interface NetworkCard {
  bridge?: string;
  /** SDN zone of the bridge or VNet. @default "localnetwork" */
  zone?: string;
  model: string;
  vlan?: number;
  /** VLANs that pass, as `2;3`. */
  trunks?: string;
  mtu?: number;
  queues?: number;
  rateMBps?: number;
  firewall?: boolean;
  isUnplugged?: true;
}

/** Options of a disk. Absent fields: as the template has it, or Proxmox's default for a disk that it does not have. */
export interface DiskOptions {
  aio?: string;
  cache?: string;
  serial?: string;
  queues?: number;
  ssd?: boolean;
  discard?: boolean;
  iothread?: boolean;
  backup?: boolean;
  replicate?: boolean;
  /** Limits by their names in Proxmox: `mbps_rd`, `iops_wr_max`. */
  limits?: Readonly<Record<string, number>>;
}

/** A disk beside the system disk. */
export interface FurtherDisk extends DiskOptions {
  /** Its serial number. */
  name: string;
  sizeGiB: number;
  /** @default that of the pool */
  storage?: string;
}

/** A device of the host, by resource mapping. */
export interface Device {
  kind: "pci" | "usb";
  mapping: string;
  pcie: boolean;
}

/** The hardware that the configuration asks for. What it does not say stays as the template has it. */
export interface NodeHardware {
  cpu?: Cpu;
  /** Least memory that the balloon leaves, in MiB; 0: no balloon. */
  balloonMiB?: number;
  /** net0 first. */
  networks?: readonly NetworkCard[];
  systemDisk?: DiskOptions;
  disks?: readonly FurtherDisk[];
  devices?: readonly Device[];
}

/** What a clone keeps of its template. Absent fields: what every clone has (components/vm.ts). */
export interface TemplateHardware extends Omit<NodeHardware, "disks" | "devices"> {
  /** Controller of SCSI disks. */
  scsiController?: string;
  /** serial0 first: `socket`. */
  serials?: readonly string[];
  /** The guest agent trims disks after they were cloned. */
  trimsClones?: true;
}

/** The hardware of a clone, beside cores, memory and size of the system disk. */
export type VmHardware = NodeHardware & TemplateHardware;

/** The hardware of a clone: what the configuration says, and the rest as the template has it. */
export function cloneHardware(
  template: TemplateHardware,
  wanted: NodeHardware,
  bridge: string,
): VmHardware & { networks: readonly NetworkCard[] } {
  const [first = { model: "virtio" }, ...others] = template.networks ?? [];
  return {
    ...template,
    ...wanted,
    cpu: { ...template.cpu, ...wanted.cpu },
    systemDisk: { ...template.systemDisk, ...wanted.systemDisk },
    networks: wanted.networks ?? [{ ...first, bridge }, ...others],
  };
}
