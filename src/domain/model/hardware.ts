/** The hardware of VMs. */

/** A network card, without its MAC address: that of a clone is its own. Absent fields have Proxmox's default. */
export interface NetworkCard {
  bridge?: string;
  model: string;
  vlan?: number;
  /** VLANs that pass, as `2;3`. */
  trunks?: string;
  mtu?: number;
  queues?: number;
  /** Megabytes per second. */
  rate?: number;
  hasFirewall?: true;
  isUnplugged?: true;
}

/** Options of a disk. Absent fields have Proxmox's default. */
export interface DiskOptions {
  aio?: string;
  cache?: string;
  discard?: string;
  serial?: string;
  queues?: number;
  ssd?: true;
  iothread?: true;
  isNotBackedUp?: true;
  isNotReplicated?: true;
  /** Limits by their names in Proxmox: `mbps_rd`, `iops_wr_max`. */
  limits?: Readonly<Record<string, number>>;
}

/** What a clone keeps of its template. Absent fields: what every clone has (components/vm.ts). */
export interface TemplateHardware {
  cpuType?: string;
  /** `+aes`, `-pcid` */
  cpuFlags?: readonly string[];
  sockets?: number;
  hasNuma?: true;
  /** Least memory that the balloon leaves, in MiB. */
  balloonMiB?: number;
  /** Controller of SCSI disks. */
  scsiController?: string;
  /** net0 first. */
  cards: readonly NetworkCard[];
  disk: DiskOptions;
  /** serial0 first: `socket`. */
  serials?: readonly string[];
  /** The guest agent trims disks after they were cloned. */
  trimsClones?: true;
}
