import type { CustomResourceOptions } from "@pulumi/pulumi";
import { VmLegacy, type VmLegacyArgs } from "@muhlba91/pulumi-proxmoxve/vmLegacy.js";
import type { KeptVm, PlacedNode, VmSite } from "../src/domain/model/types.ts";

export interface NodeVmArgs {
  node: Pick<PlacedNode, "name" | "vmid" | "generation" | "address" | "vm">;
  site: VmSite;
}

/**
 * Properties in which an existing VM may differ from the program without an update. The steps own its power; Proxmox
 * and its administrators own its host, description and protection; the clone source no longer matters; network and
 * storage settings of the site apply to new nodes. All other properties are part of the generation, so a change of them
 * makes another VM.
 */
const OWNED_BY_OTHERS = [
  ...["started", "onBoot"],
  ...["nodeName", "description", "protection"],
  ...["vmId", "clone", "disks"],
  ...["initialization", "networkDevices"],
];

/**
 * Outputs that the provider marks as unknown whenever the power state differs from `started`: after an update of a VM
 * that a step has started, every later update would show them as a change.
 */
const UNKNOWN_WITH_POWER = ["ipv4Addresses", "ipv6Addresses", "networkInterfaceNames"];

/** A node's VM: a linked clone, powered off. The engine owns its existence, the steps own its power. */
export function nodeVm(name: string, args: NodeVmArgs, options: CustomResourceOptions): VmLegacy {
  return new VmLegacy(name, render(args), { ...options, ignoreChanges: [...OWNED_BY_OTHERS, ...UNKNOWN_WITH_POWER] });
}

/** All other properties that `render` may set. */
const ALL = [
  ...["name", "poolId", "tags", "started", "onBoot", "rebootAfterUpdate", "stopOnDestroy", "purgeOnDestroy", "agent"],
  ...["cpu", "memory", "operatingSystem", "scsiHardware", "cdrom", "bootOrders"],
];

/** A VM that is in the state and stays exactly as it is. Its VMID is taken, so it is never made. */
export function keptVm({ name, vmid, host }: KeptVm, options: CustomResourceOptions): VmLegacy {
  const ignoreChanges = [...ALL, ...OWNED_BY_OTHERS, ...UNKNOWN_WITH_POWER];
  return new VmLegacy(name, { name, vmId: vmid, nodeName: host }, { ...options, ignoreChanges });
}

function render({ node, site }: NodeVmArgs): VmLegacyArgs {
  const { spec } = node.generation;
  const { host, tags, template } = node.vm;
  return {
    name: node.name,
    vmId: node.vmid,
    nodeName: host,
    poolId: site.proxmoxPool,
    tags,
    // One attempt: on a second one the provider treats "already exists" as success and would own a foreign VM.
    ...(template && { clone: { vmId: template.vmid, nodeName: template.host, full: false, retries: 1 } }),
    started: false,
    onBoot: false,
    rebootAfterUpdate: false,
    stopOnDestroy: true,
    purgeOnDestroy: true,
    agent: { enabled: true, timeout: "15s", waitForIp: { disabled: true } },
    cpu: { cores: spec.cores, type: "x86-64-v2-AES" },
    memory: { dedicated: spec.memoryMiB },
    operatingSystem: { type: "l26" },
    scsiHardware: "virtio-scsi-single",
    disks: [{ interface: "scsi0", datastoreId: site.storage, size: spec.diskGiB }],
    // Without these two the provider sends a drive that a limited token may not set, and a boot order in random order.
    cdrom: { fileId: "none", interface: "ide3" },
    bootOrders: ["scsi0", "ide3"],
    networkDevices: [{ bridge: site.bridge, model: "virtio" }],
    initialization: {
      datastoreId: site.storage,
      interface: "ide2",
      // The provider reads an empty list back as absent, which every update would show as a change.
      ...(site.dnsServers.length > 0 ? { dns: { servers: site.dnsServers } } : {}),
      ipConfigs: [{ ipv4: ipv4(node, site) }],
    },
  };
}

function ipv4({ address }: NodeVmArgs["node"], site: VmSite): { address: string; gateway?: string } {
  if (address === undefined) return { address: "dhcp" };
  return {
    address: `${address}/${site.prefixLength}`,
    ...(site.gateway === undefined ? {} : { gateway: site.gateway }),
  };
}
