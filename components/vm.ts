import type { CustomResourceOptions } from "@pulumi/pulumi";
import { VmLegacy, type VmLegacyArgs } from "@muhlba91/pulumi-proxmoxve/vmLegacy.js";
import { LEAST_CPU } from "../src/domain/images/hardware.ts";
import {
  cloneHardware,
  type Cpu,
  type Device,
  type DiskOptions,
  type FurtherDisk,
  type NetworkCard,
} from "../src/domain/model/hardware.ts";
import type { KeptVm, NodeAddresses, PlacedNode, VmSite } from "../src/domain/model/types.ts";

export interface NodeVmArgs {
  node: Pick<PlacedNode, "name" | "vmid" | "generation" | keyof NodeAddresses | "vm">;
  site: VmSite;
}

/**
 * Properties in which an existing VM may differ from the program without an update. The steps own its power; Proxmox
 * and its administrators own its host, description and protection; tags are added by the program itself, beside those
 * that people give (src/observe/tags.ts); network and storage settings of the site apply to new
 * nodes. Its hardware is that of its generation and of the template that it was cloned from, which may be gone: a change
 * of the one makes another VM, and a change of the other counts for new ones.
 */
const OWNED_BY_OTHERS = [
  ...["started", "onBoot"],
  ...["nodeName", "description", "protection", "tags"],
  ...["vmId", "clone", "disks", "cpu", "memory", "scsiHardware", "serialDevices", "agent.trim"],
  ...["hostpcis", "usbs", "watchdog"],
  ...["initialization", "networkDevices"],
];

/**
 * Outputs that the provider marks as unknown whenever the power state differs from `started`: after an update of a VM
 * that a step has started, every later update would show them as a change.
 */
const UNKNOWN_WITH_POWER = ["ipv4Addresses", "ipv6Addresses", "networkInterfaceNames"];

/** A node's VM: a clone, powered off. The engine owns its existence, the steps own its power. */
export function nodeVm(name: string, args: NodeVmArgs, options: CustomResourceOptions): VmLegacy {
  return new VmLegacy(name, render(args), { ...options, ignoreChanges: [...OWNED_BY_OTHERS, ...UNKNOWN_WITH_POWER] });
}

/** All other properties that `render` may set. */
const ALL = [
  ...["name", "poolId", "started", "onBoot", "rebootAfterUpdate", "stopOnDestroy", "purgeOnDestroy", "agent"],
  ...["operatingSystem", "cdrom", "bootOrders"],
];

/** A VM that is in the state and stays exactly as it is. Its VMID is taken, so it is never made. */
export function keptVm({ name, vmid, host }: KeptVm, options: CustomResourceOptions): VmLegacy {
  const ignoreChanges = [...ALL, ...OWNED_BY_OTHERS, ...UNKNOWN_WITH_POWER];
  return new VmLegacy(name, { name, vmId: vmid, nodeName: host }, { ...options, ignoreChanges });
}

function render({ node, site }: NodeVmArgs): VmLegacyArgs {
  const { spec } = node.generation;
  const { host, tags, template } = node.vm;
  const hardware = cloneHardware(node.vm.hardware ?? {}, spec.hardware ?? {}, site.bridge);
  const { cpu, balloonMiB, scsiController = "virtio-scsi-single", serials } = hardware;
  return {
    name: node.name,
    vmId: node.vmid,
    nodeName: host,
    poolId: site.proxmoxPool,
    tags,
    // One attempt: on a second one the provider treats "already exists" as success and would own a foreign VM.
    ...(template && { clone: { vmId: template.vmid, nodeName: template.host, ...copied(site), retries: 1 } }),
    started: false,
    onBoot: false,
    rebootAfterUpdate: false,
    stopOnDestroy: true,
    purgeOnDestroy: true,
    agent: {
      enabled: true,
      timeout: "15s",
      waitForIp: { disabled: true },
      ...(hardware.trimsClones && { trim: true }),
    },
    cpu: processor(spec.cores, cpu),
    memory: { dedicated: spec.memoryMiB, ...(balloonMiB !== undefined && { floating: balloonMiB }) },
    operatingSystem: { type: "l26" },
    scsiHardware: scsiController,
    disks: [
      { interface: "scsi0", datastoreId: site.storage, size: spec.diskGiB, ...diskOptions(hardware.systemDisk) },
      ...(hardware.disks ?? []).map((disk, index) => furtherDisk(disk, index, site.storage)),
    ],
    // Without these two the provider sends a drive that a limited token may not set, and a boot order in random order.
    cdrom: { fileId: "none", interface: "ide3" },
    bootOrders: ["scsi0", "ide3"],
    networkDevices: hardware.networks.map(networkDevice),
    ...(serials && { serialDevices: serials.map((device) => ({ device })) }),
    ...devices(hardware.devices),
    initialization: {
      datastoreId: site.storage,
      interface: "ide2",
      // The provider reads an empty list back as absent, which every update would show as a change.
      ...dns(site),
      ipConfigs: [{ ipv4: ipv4(node, site), ...ipv6(node, site) }],
    },
  };
}

function dns({ dnsServers, searchDomain }: VmSite): { dns?: { servers?: string[]; domain?: string } } {
  if (dnsServers.length === 0 && searchDomain === undefined) return {};
  return {
    dns: {
      ...(dnsServers.length > 0 && { servers: dnsServers }),
      ...(searchDomain !== undefined && { domain: searchDomain }),
    },
  };
}

/** A linked clone stays on its template's storage; Proxmox refuses to be told so. */
function copied({ fullClones, storage }: VmSite): { full: boolean; datastoreId?: string } {
  return fullClones ? { full: true, datastoreId: storage } : { full: false };
}

function processor(cores: number, { type = LEAST_CPU, flags, sockets = 1, numa, limit, units }: Cpu = {}) {
  return {
    cores: cores / sockets,
    type,
    ...(sockets > 1 && { sockets }),
    ...(flags && { flags: [...flags] }),
    ...(numa !== undefined && { numa }),
    ...(limit !== undefined && { limit }),
    ...(units !== undefined && { units }),
  };
}

function networkDevice(card: NetworkCard) {
  const { model, bridge, vlan, trunks, mtu, queues, rateMBps, firewall, isUnplugged } = card;
  return {
    model,
    ...(bridge !== undefined && { bridge }),
    ...(vlan !== undefined && { vlanId: vlan }),
    ...(trunks !== undefined && { trunks }),
    ...(mtu !== undefined && { mtu }),
    ...(queues !== undefined && { queues }),
    ...(rateMBps !== undefined && { rateLimit: rateMBps }),
    ...(firewall === true && { firewall }),
    ...(isUnplugged && { disconnected: true }),
  };
}

function devices(all: readonly Device[] = []): Pick<VmLegacyArgs, "hostpcis" | "usbs"> {
  const pci = all.filter(({ kind }) => kind === "pci");
  const usb = all.filter(({ kind }) => kind === "usb");
  return {
    ...(pci.length > 0 && {
      hostpcis: pci.map(({ mapping, pcie }, index) => ({ device: `hostpci${index}`, mapping, pcie, rombar: true })),
    }),
    ...(usb.length > 0 && { usbs: usb.map(({ mapping }) => ({ mapping })) }),
  };
}

/** The names of a disk's limits in Proxmox, by those of the provider. */
const LIMITS = {
  read: "mbps_rd",
  readBurstable: "mbps_rd_max",
  write: "mbps_wr",
  writeBurstable: "mbps_wr_max",
  iopsRead: "iops_rd",
  iopsReadBurstable: "iops_rd_max",
  iopsWrite: "iops_wr",
  iopsWriteBurstable: "iops_wr_max",
};

/** The disks after the system disk are scsi1, scsi2 and so on. */
function furtherDisk({ name, sizeGiB, storage, ...options }: FurtherDisk, index: number, site: string) {
  const place = { interface: `scsi${index + 1}`, datastoreId: storage ?? site, size: sizeGiB };
  return { ...place, ...diskOptions({ ...options, serial: name }) };
}

function diskOptions({ limits, discard, ...same }: DiskOptions = {}) {
  const given = Object.entries(LIMITS).flatMap(([ours, theirs]) => {
    const limit = limits?.[theirs];
    return limit === undefined ? [] : [[ours, limit]];
  });
  return {
    ...same,
    ...(discard !== undefined && { discard: discard ? "on" : "ignore" }),
    ...(limits && { speed: Object.fromEntries(given) as Partial<Record<keyof typeof LIMITS, number>> }),
  };
}

function ipv4({ address }: NodeVmArgs["node"], site: VmSite): { address: string; gateway?: string } {
  if (address === undefined) return { address: "dhcp" };
  return {
    address: `${address}/${site.prefixLength}`,
    ...(site.gateway === undefined ? {} : { gateway: site.gateway }),
  };
}

function ipv6(
  { address6 }: NodeVmArgs["node"],
  { ipv6: wanted }: VmSite,
): { ipv6?: { address: string; gateway?: string } } {
  if (wanted === undefined) return {};
  if ("method" in wanted) return { ipv6: { address: wanted.method } };
  if (address6 === undefined) return {};
  const { prefixLength, gateway } = wanted;
  return { ipv6: { address: `${address6}/${prefixLength}`, ...(gateway === undefined ? {} : { gateway }) } };
}
