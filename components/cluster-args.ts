// Made by `npm run docs` from src/config/schema.ts: change the text there, and run it again.
import type { Json } from "../src/domain/model/canonical.ts";

/**
 * Arguments of a cluster: plain data, the keys of a stack's configuration without their namespace. What `In place`,
 * `New nodes` and `New generation` mean, docs/configuration.md explains.
 */
export interface ClusterArgs {
  /**
   * Name of the cluster; part of every node's name.
   *
   * Values: lower-case letters, digits and dashes; begins with a letter.
   *
   * A change of it: Refused while there are nodes, because the engine would destroy all of them. Another cluster needs
   * another stack.
   */
  cluster: string;
  /** The Proxmox VE site that the cluster runs on. */
  site: ClusterSiteArgs;
  /** The servers: etcd and the Kubernetes API. */
  controlPlane: ClusterControlPlaneArgs;
  /**
   * Pools of agents.
   *
   * A change of it: An added pool is created. The nodes of a removed one are drained and destroyed.
   *
   * @default []
   */
  pools?: ClusterPoolArgs[];
  /**
   * The etcd snapshot that is made and verified before the first server is decommissioned, or a second one joins the
   * only one.
   */
  backup?: ClusterBackupArgs;
  /**
   * What happens to data that only a departing node holds: PersistentVolumes on the disk of one node (local, TopoLVM,
   * OpenEBS, local-path, hostPath), and disks that somebody has attached to its VM.
   */
  localVolumes?: ClusterLocalVolumesArgs;
  /**
   * Private registries and mirrors of all nodes: RKE2's `registries.yaml`, as a map or as its text. It belongs to no
   * generation, and nodes have it before RKE2 starts. Keep it, or each password in it, as a secret: credentials in
   * clear are refused.
   *
   * A change of it: In place, where the image has the unit for it: RKE2 restarts, pods stay, one node of a pool after
   * the other, before anything else in the pool. A node that is down gets it in the first update after it is back.
   * Nodes of other images keep theirs and are named: raise `rollout` of their pool to replace them. Without the key,
   * nodes keep what they have, but for one whose RKE2 does not start with it, which gets none; `{}` takes it from all.
   */
  registries?: ClusterRegistriesArgs;
  /**
   * What the record of a template must say before a node is cloned from it ([records and
   * trust](images.md#records-and-trust)), and which images the stack bakes.
   */
  images?: ClusterImagesArgs;
  /** Longest waits of the steps, in seconds. */
  timeouts?: ClusterTimeoutsArgs;
  /**
   * Whether `pulumi destroy` may tear the cluster down. The value of the last `pulumi up` counts.
   *
   * A change of it: In place.
   *
   * @default false
   */
  allowDestroy?: boolean;
  /**
   * Whether a cluster that Rancher has imported may be updated. Set it only when version management of this cluster is
   * off in Rancher: otherwise both upgrade the cluster and drain each other's nodes.
   *
   * A change of it: In place.
   *
   * @default false
   */
  allowRancher?: boolean;
}

/** The Proxmox VE site that the cluster runs on. */
export interface ClusterSiteArgs {
  /**
   * Address in front of the ready servers, ports 9345 and 6443: a load balancer or a virtual address that no node owns.
   *
   * Values: host name, IPv4 or IPv6 address.
   *
   * A change of it: New nodes; existing nodes keep the address that they joined with, so the old address must stay
   * available. Refused when a server is to be replaced or removed while an agent or an adopted node still has another
   * address: raise `rollout` of the pools of agents first.
   */
  registrationAddress: string;
  /**
   * Additional names and addresses for the servers' certificates.
   *
   * A change of it: New generation of servers.
   *
   * @default []
   */
  tlsSans?: string[];
  /**
   * Proxmox pool of the node VMs; the token may change VMs only in this pool.
   *
   * A change of it: Refused while the nodes are in the old pool: move their VMs in Proxmox first.
   *
   * @default evergreen-nodes
   */
  proxmoxPool?: string;
  /**
   * Proxmox pool of the templates.
   *
   * A change of it: In place.
   *
   * @default evergreen-templates
   */
  templatePool?: string;
  /** Hardware and tags of the servers and of all pools, where they do not say otherwise. */
  defaults?: ClusterDefaultsArgs;
  /**
   * Proxmox hosts that new VMs are distributed over: evenly, or as `hostWeights` and `zones` say. An existing VM stays
   * where it is.
   *
   * A change of it: New nodes.
   */
  hosts: string[];
  /**
   * Weight of each Proxmox host: one with 2 gets twice the new VMs of a pool that one with 1 gets, and one with 0 gets
   * none. Every host gets one before any gets a second. Servers are spread evenly, over all hosts with a weight above
   * 0.
   *
   * Values: map of hosts to whole numbers from 0 to 1000.
   *
   * A change of it: New nodes.
   *
   * @default 1 for each host
   */
  hostWeights?: Record<string, number>;
  /**
   * Zone of each Proxmox host: its nodes have the label `topology.kubernetes.io/zone` with it, also after their VM was
   * migrated (from the next update on). New VMs are spread over the zones first, and then over the hosts of each zone.
   * A host that is left out is a zone of its own, without a label.
   *
   * A change of it: Labels in place; new nodes are spread over the new zones.
   *
   * @default no zones
   */
  zones?: Record<string, string>;
  /**
   * Label of nodes that has the name of their Proxmox host, such as `topology.example.com/host`.
   *
   * A change of it: In place. The label that it was called before stays.
   *
   * @default none
   */
  hostLabel?: string;
  /**
   * Storage of disks and cloud-init drives.
   *
   * A change of it: New nodes.
   */
  storage: string;
  /**
   * Whether VMs are full copies of their templates, where a pool does not say otherwise.
   *
   * A change of it: New nodes.
   *
   * @default false
   */
  fullClones?: boolean;
  /**
   * Factor by which the total full size of a run's new disks may exceed the free space of the storage. Linked clones on
   * thin storage start almost empty. A factor above 1 assumes that they stay small; a storage that fills up stops every
   * VM on it.
   *
   * Values: number from 1.
   *
   * A change of it: In place.
   *
   * @default 1
   */
  storageOvercommit?: number;
  /**
   * Network bridge of the nodes.
   *
   * A change of it: New nodes.
   *
   * @default vmbr0
   */
  bridge?: string;
  /**
   * Gateway of the node network, for nodes with an address of their own (`firstAddress`).
   *
   * Values: IPv4 address.
   *
   * A change of it: New nodes.
   *
   * @default none; with DHCP, what DHCP provides
   */
  gateway?: string;
  /**
   * Prefix length of the node network, for nodes with an address of their own (`firstAddress`).
   *
   * Values: whole number from 8 to 30.
   *
   * A change of it: New nodes.
   *
   * @default 24
   */
  prefixLength?: number;
  /**
   * IPv6 gateway of the node network, for nodes with an IPv6 address of their own (`firstAddress6`). It may be a
   * link-local address.
   *
   * Values: IPv6 address.
   *
   * A change of it: New nodes.
   *
   * @default what router advertisements say
   */
  gateway6?: string;
  /**
   * IPv6 prefix length of the node network, for nodes with an IPv6 address of their own (`firstAddress6`).
   *
   * Values: whole number from 16 to 126.
   *
   * A change of it: New nodes.
   *
   * @default 64
   */
  prefixLength6?: number;
  /**
   * Name servers of the nodes. An empty list: DHCP provides them.
   *
   * Values: list, each: IP address.
   *
   * A change of it: New nodes.
   *
   * @default []
   */
  dnsServers?: string[];
  /**
   * Domain in which nodes look for host names without one.
   *
   * A change of it: New nodes.
   *
   * @default what DHCP provides, or that of the Proxmox host
   */
  searchDomain?: string;
}

/** Hardware and tags of the servers and of all pools, where they do not say otherwise. */
export interface ClusterDefaultsArgs {
  /** The processor of each node, beside `cores`. */
  cpu?: ClusterCpuArgs;
  /**
   * Memory in MiB that the host leaves to a node when it runs short itself; 0: all of it.
   *
   * Values: whole number from 0.
   *
   * A change of it: New generation.
   *
   * @default as the template has it; all of it where that says nothing
   */
  balloonMiB?: number;
  /**
   * All network cards. The first one has the node's address; the guest configures the others itself (DHCP, or as the
   * image says).
   *
   * A change of it: New generation.
   *
   * @default those of the template, the first one on `evergreen:site.bridge`
   */
  networks?: ClusterNetworkArgs[];
  /** Options of the system disk; its size is `diskGiB`. */
  systemDisk?: ClusterSystemDiskArgs;
  /**
   * Further disks, empty when the node is made: docs/sites.md shows how an image formats and mounts one. Those of the
   * template stay as they are.
   *
   * A change of it: New generation.
   *
   * @default none but those of the template
   */
  disks?: ClusterDiskArgs[];
  /**
   * Devices of the host, by resource mapping.
   *
   * A change of it: New generation.
   *
   * @default none but those of the template
   */
  devices?: ClusterDeviceArgs[];
  /**
   * Tags of the VMs in Proxmox, beside those of Evergreen. Tags that somebody gives a VM by hand stay. A list of a pool
   * takes the place of that in `site.defaults`.
   *
   * A change of it: In place: existing VMs get new tags, and lose those that were in the list when an update before
   * this one saw the cluster.
   *
   * @default none beside those of Evergreen
   */
  tags?: string[];
}

/** The processor of each node, beside `cores`. */
export interface ClusterCpuArgs {
  /**
   * CPU type, such as `host` or `x86-64-v3`. Every host of the pool needs it.
   *
   * A change of it: New generation.
   *
   * @default that of the template, at least `x86-64-v2-AES`
   */
  type?: string;
  /**
   * Flags that are added to the CPU type (`+`) or taken from it (`-`). Their order has no meaning.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  flags?: string[];
  /**
   * Sockets over which `cores` are divided.
   *
   * Values: whole number from 1 to 16.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  sockets?: number;
  /**
   * Whether the guest sees the host's NUMA nodes.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  numa?: boolean;
  /**
   * CPU time of all cores together, in cores.
   *
   * Values: number from 0.1 to 128.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  limit?: number;
  /**
   * Weight in the competition for CPU time with other VMs of the host.
   *
   * Values: whole number from 1 to 262144.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  units?: number;
}

/**
 * All network cards. The first one has the node's address; the guest configures the others itself (DHCP, or as the
 * image says).
 */
export interface ClusterNetworkArgs {
  /**
   * Bridge or VNet that the card is connected to, on every host of the pool.
   *
   * A change of it: New generation.
   */
  bridge: string;
  /**
   * SDN zone of the VNet: the token needs `SDN.Use` in it.
   *
   * A change of it: In place.
   *
   * @default `localnetwork` for a bridge, and for a VNet any zone in which the token may use it
   */
  zone?: string;
  /**
   * Model of the card.
   *
   * A change of it: New generation.
   *
   * @default virtio
   */
  model?: "virtio" | "e1000" | "e1000e" | "vmxnet3" | "rtl8139";
  /**
   * VLAN tag.
   *
   * Values: whole number from 1 to 4094.
   *
   * A change of it: New generation.
   *
   * @default untagged
   */
  vlan?: number;
  /**
   * MTU in bytes; 1: that of the bridge. Only for `virtio`.
   *
   * Values: whole number from 1 to 65520.
   *
   * A change of it: New generation.
   *
   * @default 1500
   */
  mtu?: number;
  /**
   * Packet queues.
   *
   * Values: whole number from 1 to 64.
   *
   * A change of it: New generation.
   *
   * @default one
   */
  queues?: number;
  /**
   * Greatest throughput in MB/s.
   *
   * Values: number from 0.001.
   *
   * A change of it: New generation.
   *
   * @default unlimited
   */
  rateMBps?: number;
  /**
   * Whether Proxmox's firewall filters the card.
   *
   * A change of it: New generation.
   *
   * @default false
   */
  firewall?: boolean;
}

/** Options of the system disk; its size is `diskGiB`. */
export interface ClusterSystemDiskArgs {
  /**
   * Whether the guest sees an SSD.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  ssd?: boolean;
  /**
   * Whether space that the guest frees is freed on the storage.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  discard?: boolean;
  /**
   * Whether the disk has a thread of its own.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  iothread?: boolean;
  /**
   * Cache mode of the host.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  cache?: "none" | "writethrough" | "writeback" | "unsafe" | "directsync";
  /**
   * Kind of asynchronous I/O of the host.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  aio?: "native" | "threads" | "io_uring";
  /**
   * Whether backups of the VM include the disk.
   *
   * A change of it: New generation.
   *
   * @default as the template has it
   */
  backup?: boolean;
}

/**
 * Further disks, empty when the node is made: docs/sites.md shows how an image formats and mounts one. Those of the
 * template stay as they are.
 */
export interface ClusterDiskArgs {
  /**
   * Serial number of the disk: the guest finds it as `/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_<name>`. What is on the
   * disk goes with the node.
   *
   * A change of it: New generation.
   */
  name: string;
  /**
   * Size in GiB.
   *
   * Values: whole number from 1 to 65536.
   *
   * A change of it: New generation.
   */
  sizeGiB: number;
  /**
   * Storage of the disk.
   *
   * A change of it: New generation.
   *
   * @default the storage of the pool
   */
  storage?: string;
  /**
   * Whether the guest sees an SSD.
   *
   * A change of it: New generation.
   *
   * @default false
   */
  ssd?: boolean;
  /**
   * Whether space that the guest frees is freed on the storage.
   *
   * A change of it: New generation.
   *
   * @default false
   */
  discard?: boolean;
  /**
   * Whether the disk has a thread of its own.
   *
   * A change of it: New generation.
   *
   * @default false
   */
  iothread?: boolean;
  /**
   * Cache mode of the host.
   *
   * A change of it: New generation.
   *
   * @default none
   */
  cache?: "none" | "writethrough" | "writeback" | "unsafe" | "directsync";
  /**
   * Kind of asynchronous I/O of the host.
   *
   * A change of it: New generation.
   *
   * @default io_uring
   */
  aio?: "native" | "threads" | "io_uring";
  /**
   * Whether backups of the VM include the disk.
   *
   * A change of it: New generation.
   *
   * @default true
   */
  backup?: boolean;
}

/** Devices of the host, by resource mapping. */
export interface ClusterDeviceArgs {
  /**
   * Resource mapping of the device; every host of the pool needs an entry in it.
   *
   * A change of it: New generation.
   */
  mapping: string;
  /**
   * Kind of the device.
   *
   * A change of it: New generation.
   *
   * @default pci
   */
  kind?: "pci" | "usb";
  /**
   * Whether a PCI device is a PCIe one; only for `q35`.
   *
   * A change of it: New generation.
   *
   * @default false
   */
  pcie?: boolean;
}

/** What servers and pools of agents have in common. */
export interface ClusterNodeArgs extends ClusterDefaultsArgs {
  /**
   * Virtual CPUs of each node.
   *
   * Values: whole number from 1.
   *
   * A change of it: New generation.
   *
   * @default 4
   */
  cores?: number;
  /**
   * Memory of each node, in MiB.
   *
   * Values: whole number from 512.
   *
   * A change of it: New generation.
   *
   * @default 8192
   */
  memoryMiB?: number;
  /**
   * Size of the system disk in GiB; at least the size of the template's disk.
   *
   * Values: whole number from 1.
   *
   * A change of it: New generation.
   *
   * @default 40
   */
  diskGiB?: number;
  /**
   * Proxmox hosts that new VMs of it are distributed over: evenly, or as `evergreen:site.hostWeights` and
   * `evergreen:site.zones` say.
   *
   * A change of it: New nodes.
   *
   * @default evergreen:site.hosts
   */
  hosts?: string[];
  /**
   * Storage of its system disks and cloud-init drives. Linked clones need it to be that of the template.
   *
   * A change of it: New nodes.
   *
   * @default evergreen:site.storage
   */
  storage?: string;
  /**
   * Whether its VMs are full copies of the template: they take longer and all their space, and may be on another
   * storage.
   *
   * A change of it: New nodes.
   *
   * @default evergreen:site.fullClones
   */
  fullClones?: boolean;
  /**
   * Additional node labels. The join step sets those that a kubelet may not set itself, such as
   * `node-role.kubernetes.io/worker`.
   *
   * A change of it: New generation.
   *
   * @default {}
   */
  labels?: Record<string, string>;
  /**
   * Annotations of the Nodes, such as `node.longhorn.io/default-node-tags`. The join step sets them once the node is
   * Ready. Together at most 8 KiB.
   *
   * A change of it: New generation.
   *
   * @default {}
   */
  annotations?: Record<string, string>;
  /**
   * Permanent taints of the nodes. A node with any other taint that keeps pods away does not count as serving.
   *
   * Values: list, each: `key=value:Effect` or `key:Effect` with `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
   *
   * A change of it: New generation.
   *
   * @default []
   */
  taints?: string[];
  /**
   * Taints that nodes register with, and that a daemon on the node removes once it works, such as
   * `node.cilium.io/agent-not-ready:NoExecute`. A node does not count as serving until they are gone.
   *
   * Values: list, each: `key=value:Effect` or `key:Effect` with `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
   *
   * A change of it: New generation.
   *
   * @default []
   */
  startupTaints?: string[];
  /**
   * Counter: a higher value replaces every node without any other change.
   *
   * Values: whole number from 0.
   *
   * A change of it: New generation.
   *
   * @default 0
   */
  rollout?: number;
  /**
   * VMIDs of its nodes. No other VM may have one of them. An old VM keeps its VMID until the run that replaces it ends,
   * so agents need two VMIDs per slot, and the servers one more than there are servers.
   *
   * A change of it: New nodes.
   */
  vmIds: ClusterVmIdsArgs;
  /**
   * IPv4 address of the first VMID; each further VMID has the address at the same offset.
   *
   * Values: IPv4 address.
   *
   * A change of it: New nodes.
   *
   * @default `addresses`, or DHCP
   */
  firstAddress?: string;
  /**
   * In place of `firstAddress`, where addresses have holes: the VMIDs get these addresses in their order. As many as
   * there are VMIDs.
   *
   * Values: list that is not empty, each: IPv4 address, or a block such as `10.0.0.20-10.0.0.39`.
   *
   * A change of it: New nodes.
   *
   * @default `firstAddress`, or DHCP
   */
  addresses?: string[];
  /**
   * IPv6 address of the first VMID, beside the IPv4 address; each further VMID has the address at the same offset. A
   * cluster has both families from its creation on or never: `cluster-cidr` and `service-cidr` under
   * `evergreen:controlPlane.config` say so.
   *
   * Values: IPv6 address.
   *
   * A change of it: New nodes.
   *
   * @default `addresses6`, or `ip6`
   */
  firstAddress6?: string;
  /**
   * In place of `firstAddress6`: the VMIDs get these addresses in their order. As many as there are VMIDs.
   *
   * Values: list that is not empty, each: IPv6 address, or a block such as `fd00::20-fd00::39`.
   *
   * A change of it: New nodes.
   *
   * @default `firstAddress6`, or `ip6`
   */
  addresses6?: string[];
  /**
   * In place of IPv6 addresses of their own: the nodes get one by router advertisements (`auto`) or DHCPv6 (`dhcp`), as
   * `ip6` of Proxmox's `ipconfig0` says it.
   *
   * A change of it: New nodes.
   *
   * @default Proxmox tells the nodes nothing of IPv6
   */
  ip6?: "auto" | "dhcp";
  /**
   * Existing nodes of a cluster that Evergreen did not make, each with the slot in which the first rollout replaces it.
   * VMID, uuid and name must be those of the VM and of the Node: together they identify it. `npx evergreen adopt`
   * writes the entries.
   *
   * A change of it: In place: the next run takes new entries over, and replaces the nodes as the pool's strategy says.
   * Remove an entry only when the VM has left the cluster.
   *
   * @default []
   */
  adopt?: ClusterAdoptArgs[];
  /**
   * What a run does when a departing node of the pool has volumes that no other node can reach, and they are bound or
   * hold retained data: `refuse` the run, or decommission the node and `keep` its VM. Likewise for volumes of a zone
   * that loses its last node for their pods: no VM is kept for them.
   *
   * A change of it: In place.
   *
   * @default as `evergreen:localVolumes.whenNodesLeave`
   */
  localVolumes?: "refuse" | "keep";
}

/** The servers: etcd and the Kubernetes API. */
export interface ClusterControlPlaneArgs extends ClusterNodeArgs {
  /**
   * Number of servers; odd, because etcd needs a majority of them.
   *
   * Values: 1, 3, 5 or 7.
   *
   * A change of it: Servers join or are decommissioned, one after the other.
   *
   * @default 3
   */
  servers?: number;
  /**
   * Template that the servers are cloned from.
   *
   * Values: name of a template with its version, such as `ubuntu-24.04-rke2-v1.0.0`.
   *
   * A change of it: New generation. Refused when its RKE2 is older than that of a server, more than one minor version
   * newer, or too new for the agents.
   */
  image: string;
  /**
   * Additional RKE2 configuration, with keys as in `/etc/rancher/rke2/config.yaml`. It must not contain secrets,
   * because it becomes part of the state, and no keys that Evergreen writes itself.
   *
   * A change of it: New generation. Refused for keys that are fixed for the life of a cluster: `cluster-cidr`,
   * `service-cidr`, `cluster-dns`, `cluster-domain`, `disable-cloud-controller`, `disable-kube-proxy`,
   * `egress-selector-mode`, `embedded-registry`, `enable-servicelb`, `secrets-encryption-provider`,
   * `supervisor-metrics`, `cni`.
   *
   * @default {}
   */
  config?: Record<string, Json>;
  /**
   * What the run after a failed verdict does. `hold`: every slot keeps the node that it has. `rollback`: every slot
   * returns to the proved generation that the pool served on before. A decommissioned server is never reused: the slot
   * gets a new server with the former content.
   *
   * A change of it: In place.
   *
   * @default hold
   */
  onFailure?: "hold" | "rollback";
  /**
   * Whether the only server of a control plane may be replaced. During the replacement etcd has two members and
   * tolerates the loss of neither: keep a fresh snapshot.
   *
   * A change of it: In place.
   *
   * @default false
   */
  replaceOnlyServer?: boolean;
}

/**
 * VMIDs of its nodes. No other VM may have one of them. An old VM keeps its VMID until the run that replaces it ends,
 * so agents need two VMIDs per slot, and the servers one more than there are servers.
 */
export interface ClusterVmIdsArgs {
  /**
   * First VMID of the range.
   *
   * Values: whole number from 100.
   *
   * A change of it: New nodes.
   */
  first: number;
  /**
   * Last VMID of the range; the range includes it.
   *
   * Values: whole number from 100 to 999999999.
   *
   * A change of it: New nodes.
   */
  last: number;
}

/**
 * Existing nodes of a cluster that Evergreen did not make, each with the slot in which the first rollout replaces it.
 * VMID, uuid and name must be those of the VM and of the Node: together they identify it. `npx evergreen adopt` writes
 * the entries.
 */
export interface ClusterAdoptArgs {
  /**
   * Slot that the node holds until its successor takes over. Slots are numbered from 0.
   *
   * Values: whole number from 0.
   *
   * A change of it: Refused once an update has taken the node over. When the VM has left the cluster, the entry has no
   * effect.
   */
  slot: number;
  /**
   * VMID of the VM.
   *
   * Values: whole number from 100.
   *
   * A change of it: Refused once an update has taken the node over. When the VM has left the cluster, the entry has no
   * effect.
   */
  vmid: number;
  /**
   * SMBIOS uuid of the VM; the Node reports the same value as its `systemUUID`.
   *
   * Values: uuid in lower case.
   *
   * A change of it: Refused once an update has taken the node over. When the VM has left the cluster, the entry has no
   * effect.
   */
  uuid: string;
  /**
   * Name of the Node and of the VM.
   *
   * A change of it: Refused once an update has taken the node over. When the VM has left the cluster, the entry has no
   * effect.
   */
  node: string;
}

/** Pools of agents. */
export interface ClusterPoolArgs extends ClusterNodeArgs {
  /**
   * Name of the pool; part of every node's name. The name `servers` is taken.
   *
   * Values: lower-case letters, digits and dashes; begins with a letter.
   *
   * A change of it: Another pool is created; the nodes of the old one are drained and destroyed.
   */
  name: string;
  /**
   * Number of nodes.
   *
   * Values: whole number from 0 to 1000.
   *
   * A change of it: More: new nodes join, all at once. Fewer: the nodes in the slots with the highest numbers are
   * drained and destroyed.
   */
  slots: number;
  /**
   * Template that the nodes are cloned from.
   *
   * Values: name of a template with its version, such as `ubuntu-24.04-rke2-v1.0.0`.
   *
   * A change of it: New generation. Refused when its RKE2 is newer than the servers have after the run, or more than
   * three minor versions older.
   */
  image: string;
  /**
   * Additional RKE2 configuration, with keys as in `/etc/rancher/rke2/config.yaml`. It must not contain secrets,
   * because it becomes part of the state, and no keys that Evergreen writes itself.
   *
   * A change of it: New generation.
   *
   * @default {}
   */
  config?: Record<string, Json>;
  /** How the nodes of the pool are replaced. */
  strategy?: ClusterStrategyArgs;
}

/** How the nodes of the pool are replaced. */
export interface ClusterStrategyArgs {
  /**
   * `rolling`: a few nodes at a time. `blueGreen`: all new nodes join first, then the old ones are decommissioned; this
   * needs twice the VMs.
   *
   * A change of it: In place.
   *
   * @default rolling
   */
  kind?: "rolling" | "blueGreen";
  /**
   * Number of VMs above the number of slots that may run at the same time, at least 1. A percentage is rounded up. Only
   * for `rolling`.
   *
   * Values: whole number, or a percentage of the slots such as `10%`.
   *
   * A change of it: In place.
   *
   * @default 1
   */
  surge?: number | string;
  /**
   * Number of slots that may be without a serving node at the same time, less than `slots`. A percentage is rounded
   * down. A value above `surge` has no further effect, because each successor joins first. 0 means, as in a Deployment,
   * one slot at a time, after its successor serves.
   *
   * Values: whole number, or a percentage of the slots such as `10%`.
   *
   * A change of it: In place.
   *
   * @default 1
   */
  maxUnavailable?: number | string;
  /**
   * Number of slots that are replaced first, less than `slots`; the other slots wait until these have soaked. A
   * percentage is rounded up. It needs `soakSeconds`.
   *
   * Values: whole number, or a percentage of the slots such as `10%`.
   *
   * A change of it: In place, also during a rollout.
   *
   * @default no canary
   */
  canary?: number | string;
  /**
   * Time for which new nodes must stay healthy before their generation counts as proved, in seconds. The run itself
   * waits up to 120 s; with a longer soak, a later run continues the rollout.
   *
   * Values: whole number from 0.
   *
   * A change of it: In place, also for a soak that is running.
   *
   * @default 0
   */
  soakSeconds?: number;
  /**
   * What the run after a failed verdict does. `hold`: every slot keeps the node that it has. `rollback`: every slot
   * returns to the proved generation that the pool served on before.
   *
   * A change of it: In place.
   *
   * @default hold
   */
  onFailure?: "hold" | "rollback";
}

/**
 * The etcd snapshot that is made and verified before the first server is decommissioned, or a second one joins the only
 * one.
 */
export interface ClusterBackupArgs {
  /**
   * Smallest size of an etcd snapshot that is accepted, in KiB. A good value is half the size of an existing snapshot.
   *
   * Values: whole number from 1.
   *
   * A change of it: In place.
   *
   * @default 1024
   */
  minimumKiB?: number;
  /**
   * Largest age at which a verified snapshot of the same rollout is used again, in seconds.
   *
   * Values: whole number from 60.
   *
   * A change of it: In place.
   *
   * @default 3600
   */
  maximumAgeSeconds?: number;
  /**
   * Bucket that the snapshot is also uploaded to. The credentials come from the environment (`AWS_ACCESS_KEY_ID`,
   * `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`).
   *
   * A change of it: In place.
   */
  s3?: ClusterS3Args;
}

/**
 * Bucket that the snapshot is also uploaded to. The credentials come from the environment (`AWS_ACCESS_KEY_ID`,
 * `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`).
 */
export interface ClusterS3Args {
  /**
   * URL of the S3 endpoint. Plain HTTP is accepted only on loopback, because a snapshot holds every secret of the
   * cluster. The servers and the machine that runs the update must trust its certificate.
   *
   * Values: `https://HOST` or `https://HOST:PORT`.
   *
   * A change of it: In place.
   */
  endpoint: string;
  /**
   * Region of the bucket; it is part of every request signature.
   *
   * A change of it: In place.
   *
   * @default us-east-1
   */
  region?: string;
  /**
   * Name of the bucket.
   *
   * A change of it: In place.
   */
  bucket: string;
  /**
   * Prefix of the snapshots' object names, such as `etcd/prod`, without a slash at either end.
   *
   * A change of it: In place.
   *
   * @default ""
   */
  prefix?: string;
  /**
   * Whether the bucket's name is part of the URL's path instead of its host name: `true` for most S3 servers that are
   * not AWS.
   *
   * A change of it: In place.
   *
   * @default false
   */
  pathStyle?: boolean;
  /**
   * The server-side encryption that the bucket must report for a snapshot. RKE2 does not request it: the bucket's
   * default encryption does. `none`: not checked.
   *
   * A change of it: In place.
   *
   * @default none
   */
  encryption?: "none" | "AES256" | "aws:kms";
  /**
   * Whether the whole object is read back and its content compared with the checksum that etcd wrote into it. Set it to
   * `false` where the connection from the bucket to the machine that runs the update is too slow; then only the size is
   * checked.
   *
   * A change of it: In place.
   *
   * @default true
   */
  checkContent?: boolean;
  /**
   * Days for which a snapshot must be locked (object lock) by the bucket's default retention.
   *
   * Values: whole number from 1.
   *
   * A change of it: In place.
   *
   * @default not checked
   */
  retentionDays?: number;
}

/**
 * What happens to data that only a departing node holds: PersistentVolumes on the disk of one node (local, TopoLVM,
 * OpenEBS, local-path, hostPath), and disks that somebody has attached to its VM.
 */
export interface ClusterLocalVolumesArgs {
  /**
   * What a run does when a departing node has such volumes, and they are bound or hold retained data, or such disks.
   * `refuse`: the run stops before it changes anything. `keep`: the node is decommissioned, and its VM stays, powered
   * off, with its disk. Likewise for volumes of a zone that loses its last node for their pods: no VM is kept for them.
   * It applies to pools without a setting of their own, and to a pool that left the configuration.
   *
   * A change of it: In place.
   *
   * @default refuse
   */
  whenNodesLeave?: "refuse" | "keep";
  /**
   * How long such a VM is kept, in days after its node was decommissioned; the first run after that destroys it. 0: the
   * next run destroys it.
   *
   * Values: whole number from 0 to 3650.
   *
   * A change of it: In place, also for VMs that are kept already.
   *
   * @default 7
   */
  keepDays?: number;
}

/**
 * Private registries and mirrors of all nodes: RKE2's `registries.yaml`, as a map or as its text. It belongs to no
 * generation, and nodes have it before RKE2 starts. Keep it, or each password in it, as a secret: credentials in clear
 * are refused.
 */
export interface ClusterRegistriesArgs {
  /**
   * Mirrors by registry, as in RKE2's `registries.yaml`; `*` is all registries.
   *
   * A change of it: As for the whole.
   *
   * @default none
   */
  mirrors?: Record<string, ClusterMirrorArgs>;
  /**
   * Credentials (`auth`) and TLS (`tls`) by registry or mirror, as in RKE2's `registries.yaml`. Beside `ca_file`,
   * `cert_file` and `key_file`, which are files of the image, `tls` has `ca`, `cert` and `key`: PEM that Evergreen
   * writes into files of the nodes.
   *
   * A change of it: As for the whole.
   *
   * @default none
   */
  configs?: Record<string, ClusterConfigArgs>;
}

/** Where the images of a registry come from. */
export interface ClusterMirrorArgs {
  /** URLs that are tried in this order, and the registry itself after them. */
  endpoint?: string[];
  /** Patterns of repositories, and what takes the place of each in requests to the mirror. */
  rewrite?: Record<string, string>;
}

/** How a registry or mirror is spoken to. */
export interface ClusterConfigArgs {
  /** Credentials. */
  auth?: ClusterAuthArgs;
  /** TLS of a registry or mirror. */
  tls?: ClusterTlsArgs;
}

/** Credentials. */
export interface ClusterAuthArgs {
  /** User name. */
  username?: string;
  /** Its password. */
  password?: string;
  /** Both, as `username:password` in base64. */
  auth?: string;
  /** A token in place of both. */
  identity_token?: string;
}

/** TLS of a registry or mirror. */
export interface ClusterTlsArgs {
  /**
   * Certificates of authorities beside those of the image. Evergreen writes them into a file of the node.
   *
   * Values: one or several certificates in PEM.
   */
  ca?: string;
  /**
   * Certificate of the node as a client.
   *
   * Values: one or several certificates in PEM.
   */
  cert?: string;
  /**
   * Its private key.
   *
   * Values: private key in PEM.
   */
  key?: string;
  /** The same, in a file of the image. */
  ca_file?: string;
  /** The same, in a file of the image. */
  cert_file?: string;
  /** The same, in a file of the image. */
  key_file?: string;
  /** Whether any certificate is accepted. */
  insecure_skip_verify?: boolean;
}

/**
 * What the record of a template must say before a node is cloned from it ([records and
 * trust](images.md#records-and-trust)), and which images the stack bakes.
 */
export interface ClusterImagesArgs {
  /**
   * Folder of the records of images, absolute or from the folder of the project on.
   *
   * A change of it: In place.
   *
   * @default records
   */
  records?: string;
  /**
   * Folder with the definitions of images, absolute or from the folder of the project on. An image that it defines must
   * have been baked from that definition.
   *
   * A change of it: In place.
   *
   * @default images
   */
  definitions?: string;
  /**
   * Keys whose signatures on records are trusted, each with its validity.
   *
   * A change of it: In place.
   *
   * @default []
   */
  keys?: ClusterKeyArgs[];
  /**
   * What a run does with a template whose record bears no signature. `accept` is for sites where nobody else can write
   * to Proxmox and to the records.
   *
   * A change of it: In place.
   *
   * @default refuse
   */
  unsigned?: "refuse" | "accept";
  /**
   * Stacks that must have run an image before this one does.
   *
   * A change of it: In place.
   */
  proof?: ClusterProofArgs;
  /**
   * Images that this stack bakes itself ([baking and rolling in one
   * update](images.md#baking-and-rolling-in-one-update)).
   */
  bakes?: ClusterBakesArgs;
}

/** Keys whose signatures on records are trusted, each with its validity. */
export interface ClusterKeyArgs {
  /**
   * What messages call the key.
   *
   * A change of it: In place.
   */
  name: string;
  /**
   * Its public part, as `openssl pkey -pubout` writes it. A private key is refused.
   *
   * Values: Ed25519 public key in PEM.
   *
   * A change of it: In place.
   */
  publicKey: string;
  /**
   * First moment of the statements that it may sign.
   *
   * Values: time or date, such as `2026-08-01T00:00:00Z` or `2026-08-01`.
   *
   * A change of it: In place.
   */
  from: string;
  /**
   * Last moment of the statements that it may sign: when it was retired.
   *
   * Values: time or date, such as `2026-08-01T00:00:00Z` or `2026-08-01`.
   *
   * A change of it: In place.
   *
   * @default the key is in use
   */
  until?: string;
}

/** Stacks that must have run an image before this one does. */
export interface ClusterProofArgs {
  /**
   * Stacks, such as `evergreen/dev`, of which each must have run the image and found it fit.
   *
   * A change of it: In place.
   */
  stacks: string[];
  /**
   * How long each of them must have run it, in days.
   *
   * Values: number from 0 to 3650.
   *
   * A change of it: In place.
   *
   * @default 7
   */
  days?: number;
}

/**
 * Images that this stack bakes itself ([baking and rolling in one update](images.md#baking-and-rolling-in-one-update)).
 */
export interface ClusterBakesArgs {
  /**
   * Images that an update bakes from their definitions and proves, where they are not there yet, before it touches any
   * node.
   */
  images: ClusterImageArgs[];
  /** VMIDs of bakes, which nothing else uses: a bake touches no other VM. */
  range: ClusterRangeArgs;
  /** Where images are baked, and where their templates are. */
  place: ClusterPlaceArgs;
  /** From where a guest gets what it downloads. */
  sources?: ClusterSourcesArgs;
  /**
   * Folder for the logs of bakes and proofs that failed, from the folder of the project on.
   *
   * A change of it: In place.
   *
   * @default bakes
   */
  evidence?: string;
}

/**
 * Images that an update bakes from their definitions and proves, where they are not there yet, before it touches any
 * node.
 */
export interface ClusterImageArgs {
  /**
   * Name of the image: that of a definition, with its version. Servers and pools name it as their `image`, also before
   * it is there.
   *
   * Values: name of a template with its version, such as `ubuntu-24.04-rke2-v1.0.0`.
   *
   * A change of it: Another image is baked, beside the old one. An image that is taken off the list stays as a
   * template.
   */
  image: string;
  /**
   * Proxmox host that bakes it, and that its template is on. Where hosts have no shared storage, list the image once
   * for each host, each with VMIDs of its own: a node is cloned from the template of its host.
   *
   * Values: letters, digits, dots, dashes and underscores.
   *
   * A change of it: Another template is baked there, beside the old one.
   *
   * @default place.host
   */
  host?: string;
  /**
   * VMID of its template, one of `range`.
   *
   * Values: whole number from 100 to 999999999.
   *
   * A change of it: Refused while the template is there: two templates of one name would be there.
   */
  vmid: number;
  /**
   * VMID of the clone that proves it, one of `range` and of no other image. It is gone afterwards.
   *
   * Values: whole number from 100 to 999999999.
   *
   * A change of it: In place.
   */
  proofVmid: number;
}

/** VMIDs of bakes, which nothing else uses: a bake touches no other VM. */
export interface ClusterRangeArgs {
  /**
   * First VMID of the range.
   *
   * Values: whole number from 100 to 999999999.
   *
   * A change of it: In place.
   */
  first: number;
  /**
   * Last VMID of the range; the range includes it.
   *
   * Values: whole number from 100 to 999999999.
   *
   * A change of it: In place.
   */
  last: number;
}

/** Where images are baked, and where their templates are. */
export interface ClusterPlaceArgs {
  /**
   * Proxmox host that bakes, and that the templates are on.
   *
   * Values: letters, digits, dots, dashes and underscores.
   *
   * A change of it: Refused while a template is there: it stays on its host.
   */
  host: string;
  /**
   * Storage of the templates' disks. Linked clones have theirs there too.
   *
   * Values: letters, digits, dots, dashes and underscores.
   *
   * A change of it: In place: the next bake has it.
   *
   * @default evergreen:site.storage
   */
  storage?: string;
  /**
   * Storage of base images and of the CDs of bakes, with the contents `import` and `iso`. The token of bakes may remove
   * all that is there, so no VM has a disk on it.
   *
   * Values: letters, digits, dots, dashes and underscores.
   *
   * A change of it: In place: base images are downloaded again.
   */
  imageStorage: string;
  /**
   * Bridge or VNet of the guests while they bake, from which they reach the archive and RKE2's releases.
   *
   * Values: letters, digits, dots, dashes and underscores.
   *
   * A change of it: In place: the next bake has it.
   *
   * @default evergreen:site.bridge
   */
  bridge?: string;
  /**
   * VLAN there.
   *
   * Values: whole number from 1 to 4094.
   *
   * A change of it: In place: the next bake has it.
   *
   * @default none
   */
  vlan?: number;
  /** Fixed address of the guests while they bake. With one, images are baked one after the other. */
  address?: ClusterAddressArgs;
  /**
   * Virtual CPUs of the guests while they bake.
   *
   * Values: whole number from 1.
   *
   * A change of it: In place: the next bake has them.
   *
   * @default 2
   */
  cores?: number;
  /**
   * Memory of the guests while they bake, in MiB.
   *
   * Values: whole number from 1024.
   *
   * A change of it: In place: the next bake has it.
   *
   * @default 4096
   */
  memoryMiB?: number;
}

/** Fixed address of the guests while they bake. With one, images are baked one after the other. */
export interface ClusterAddressArgs {
  /**
   * IPv4 address with the length of its network, such as `10.20.0.9/24`.
   *
   * Values: IPv4 address with a prefix length.
   *
   * A change of it: In place: the next bake has it.
   */
  cidr: string;
  /**
   * Gateway of that network.
   *
   * Values: IPv4 address.
   *
   * A change of it: In place: the next bake has it.
   */
  gateway: string;
  /**
   * Servers of DNS.
   *
   * Values: list of IPv4 addresses.
   *
   * A change of it: In place: the next bake has them.
   */
  nameservers: string[];
}

/** From where a guest gets what it downloads. */
export interface ClusterSourcesArgs {
  /**
   * Service of snapshots of the distribution's archive.
   *
   * Values: HTTP or HTTPS address.
   *
   * A change of it: In place: the next bake has it.
   */
  snapshots: string;
  /**
   * OpenPGP key that signs its archives, in ASCII armour.
   *
   * A change of it: In place: the next bake has it.
   *
   * @default the distribution's own
   */
  snapshotKey?: string;
  /**
   * Releases of RKE2.
   *
   * Values: HTTP or HTTPS address.
   *
   * A change of it: In place: the next bake has it.
   */
  rke2: string;
}

/** Longest waits of the steps, in seconds. */
export interface ClusterTimeoutsArgs {
  /**
   * From power-on until the guest agent answers.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 300
   */
  agentSeconds?: number;
  /**
   * From writing the join data until the Node is Ready and passes its checks.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 600
   */
  joinSeconds?: number;
  /**
   * Until the Longhorn replicas of a node are rebuilt on other nodes, before its pods are evicted.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 1800
   */
  storageSeconds?: number;
  /**
   * Until all pods of a node are evicted; after that the old node keeps serving. Also until Proxmox unlocks a VM that
   * is to be powered off or destroyed.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 900
   */
  drainSeconds?: number;
  /**
   * Until all volumes of a drained node are detached.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 300
   */
  volumesSeconds?: number;
  /**
   * Until a guest has shut down cleanly; after that its power is cut.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 120
   */
  shutdownSeconds?: number;
  /**
   * Until another step of the same slot ends, or a disruption lease of the pool is free.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 1800
   */
  leaseSeconds?: number;
  /**
   * Until every planned node of a pool is verified, not counting the soak. Also each wait around a handover: until
   * evicted pods run elsewhere, the control plane is healthy, other slots of the pool serve, or Proxmox unlocks the VM.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 300
   */
  gateSeconds?: number;
  /**
   * Until an etcd snapshot is made, and uploaded when a bucket is configured.
   *
   * Values: whole number from 1 to 86400.
   *
   * A change of it: In place.
   *
   * @default 600
   */
  snapshotSeconds?: number;
}
