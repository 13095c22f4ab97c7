/** The lab's site: its hosts, storage, pools, tokens and templates. */
import { randomUUID } from "node:crypto";
import type { ImageContent, StorageKind } from "../types.ts";
import { newMac, newSmbios } from "./config/properties.ts";
import { convertToTemplate } from "./api/vm-life.ts";
import type { DataCentre } from "./data-centre.ts";
import type { Value, Vm } from "./model.ts";
import { storageOf } from "./storages.ts";
import { imageId, keepsFiles } from "./volume-names.ts";
import { placeVolume } from "./volumes.ts";

const GiB = 1024 ** 3;

export interface SeedVm {
  vmid: number;
  name: string;
  /** Proxmox pool; absent: none. */
  pool?: string;
  /** @default "pve1" */
  node?: string;
  /** @default "local" */
  storage?: string;
  /** @default 1 */
  cores?: number;
  /** @default 2048 */
  memoryMiB?: number;
  /** @default 10 */
  diskGiB?: number;
  tags?: string[];
  /** What is installed on its disk; absent: nothing bootable. */
  image?: ImageContent;
  /** Additional options of its configuration. */
  config?: Record<string, Value>;
}

function placeDisk(dc: DataCentre, seed: SeedVm, what: "disk-0" | "cloudinit", size: number): string {
  const { vmid, image } = seed;
  const storage = storageOf(dc, seed.storage ?? "local");
  const format = keepsFiles(storage) ? "qcow2" : "raw";
  const volid = imageId(storage, vmid, `vm-${vmid}-${what}`, format);
  const used = what === "cloudinit" ? 266_240 : 3 * GiB;
  return placeVolume(storage, { volid, vmid, format, size, used, image }).volid;
}

/** Adds an existing VM: one that belongs to others or was made manually. */
export function seedVm(dc: DataCentre, seed: SeedVm): Vm {
  const disk = placeDisk(dc, seed, "disk-0", (seed.diskGiB ?? 10) * GiB);
  const cloudInit = placeDisk(dc, seed, "cloudinit", 4 * 1024 ** 2);
  const vm = dc.addVm(seed.node ?? "pve1", seed.vmid, [
    ["name", seed.name],
    ["cores", seed.cores ?? 1],
    ["memory", String(seed.memoryMiB ?? 2048)],
    ["cpu", "x86-64-v2-AES"],
    ["agent", "enabled=1"],
    ["scsihw", "virtio-scsi-pci"],
    ["scsi0", `${disk},size=${seed.diskGiB ?? 10}G`],
    ["ide2", `${cloudInit},media=cdrom`],
    ["net0", `virtio=${newMac()},bridge=vmbr0`],
    ["serial0", "socket"],
    ["ostype", "l26"],
    ["boot", "order=scsi0"],
    ["smbios1", newSmbios()],
    ["vmgenid", randomUUID()],
    ["meta", `creation-qemu=7.2.22,ctime=${Math.floor(Date.now() / 1000)}`],
    ...(seed.tags ? [["tags", [...seed.tags].sort().join(";")] satisfies [string, Value]] : []),
    ...Object.entries(seed.config ?? {}),
  ]);
  if (seed.pool !== undefined) dc.pools.get(seed.pool)?.vms.add(seed.vmid);
  return vm;
}

/** Adds a template with an image on its disk. */
export async function addTemplate(dc: DataCentre, seed: SeedVm & { image: ImageContent }): Promise<Vm> {
  const vm = seedVm(dc, seed);
  await convertToTemplate(dc, vm);
  return vm;
}

/** The pools, storage and bridge on which tokens get their privileges. */
interface Places {
  nodes: string;
  templates: string;
  storage: string;
  bridge: string;
}

/** Privileges of the read-only token, by path; none on `/`. */
export function readPrivileges(version: DataCentre["version"], where: Places): Record<string, string[]> {
  return {
    [`/pool/${where.templates}`]: ["VM.Audit"],
    [`/pool/${where.nodes}`]: ["VM.Audit", "Pool.Audit", version === "8.4" ? "VM.Monitor" : "VM.GuestAgent.FileRead"],
    [`/storage/${where.storage}`]: ["Datastore.Audit"],
  };
}

/** Privileges of the token that replaces nodes, by path; none on `/`. */
export function rolloutPrivileges(version: DataCentre["version"], where: Places): Record<string, string[]> {
  const config = ["CPU", "Memory", "Network", "Options", "Disk", "Cloudinit", "CDROM", "HWType"];
  const agent = version === "8.4" ? ["VM.Monitor"] : ["VM.GuestAgent.FileRead", "VM.GuestAgent.FileWrite"];
  return {
    [`/pool/${where.templates}`]: ["VM.Clone", "VM.Audit"],
    [`/pool/${where.nodes}`]: [
      "VM.Allocate",
      "VM.Audit",
      "VM.PowerMgmt",
      ...config.map((what) => `VM.Config.${what}`),
      "Pool.Audit",
      ...agent,
    ],
    [`/storage/${where.storage}`]: ["Datastore.AllocateSpace", "Datastore.Audit"],
    [`/sdn/zones/localnetwork/${where.bridge}`]: ["SDN.Use"],
  };
}

/** Privileges of the token that bakes images, by path; none on `/`, and none on the pool of nodes. */
export function bakePrivileges(
  version: DataCentre["version"],
  where: Places & { hosts: readonly string[]; imageStorage: string },
): Record<string, string[]> {
  const config = ["CPU", "Memory", "Network", "Options", "Disk", "Cloudinit", "CDROM", "HWType"];
  const vm = ["VM.Allocate", "VM.Audit", "VM.Clone", "VM.PowerMgmt", ...config.map((what) => `VM.Config.${what}`)];
  const agent = version === "8.4" ? "VM.Monitor" : "VM.GuestAgent.Unrestricted";
  const files = ["Datastore.Allocate", "Datastore.AllocateTemplate", "Datastore.AllocateSpace", "Datastore.Audit"];
  return {
    [`/pool/${where.templates}`]: [...vm, "Pool.Audit", agent],
    [`/storage/${where.storage}`]: ["Datastore.AllocateSpace", "Datastore.Audit"],
    // To remove a file needs the right to remove all: so files have a storage in which no node has a disk.
    [`/storage/${where.imageStorage}`]: files,
    [`/sdn/zones/localnetwork/${where.bridge}`]: ["SDN.Use"],
    ...Object.fromEntries(where.hosts.map((host) => [`/nodes/${host}`, ["Sys.AccessNetwork"]])),
  };
}

/** The image of a lab template. */
export function labImage(version: string, rke2: string, changes: Partial<ImageContent> = {}): ImageContent {
  return {
    name: `ubuntu-24.04-rke2-v${version}`,
    rke2,
    kernel: "6.8.0-60-generic",
    osImage: "Ubuntu 24.04.3 LTS",
    agent: true,
    units: ["registries"],
    ...changes,
  };
}

/** Names of the lab's site. */
export const site = {
  node: "pve1",
  nodes: "evergreen-nodes",
  templates: "evergreen-templates",
  storage: "local",
  /** For cloud images and the CDs of bakes. */
  imageStorage: "images",
  bridge: "vmbr0",
  /** Replaces nodes; has the least privileges that suffice. */
  rolloutToken: "evergreen@pve!rollout",
  /** Bakes images; has no right on node VMs. */
  bakeToken: "evergreen@pve!bake",
  /** Reads the site and changes nothing. */
  readToken: "evergreen-read@pve!preview",
  readSecret: "5eed0000-0000-4000-8000-000000000001",
  /** Has all privileges, for the administrator of the data centre. */
  rootToken: "root@pam!lab",
} as const;

/** Tags of a template: that it is an image, and its RKE2 version. */
export function templateTags(image: ImageContent): string[] {
  return ["evergreen", "eg-image", `rke2-${image.rke2.toLowerCase()}`];
}

export interface SiteOptions {
  /** Secret of the rollout token; absent: a new one is generated. */
  secret?: string;
  templates?: { vmid: number; image: ImageContent }[];
  /** Kind of the only storage; `rbd` is shared by all hosts. @default "dir" */
  storage?: StorageKind;
  /** Names of the hosts. Where the storage is not shared, each has a copy of every template. @default "pve1" alone */
  hosts?: readonly string[];
  /** Address of the hosts on their bridge, and their gateway. @default none */
  network?: { cidr: string; gateway: string };
}

/** Fills a data centre with the lab's site: hosts, two storages, two pools, two templates, four tokens. */
export async function seedSite(dc: DataCentre, options: SiteOptions = {}): Promise<void> {
  const { hosts = [site.node], storage: type = "dir", network } = options;
  const shared = type === "rbd";
  for (const host of hosts) dc.addNode(host, { bridges: [site.bridge], ...(network && { network }) });
  dc.addStorage(site.storage, { type, shared });
  dc.addStorage(site.imageStorage, { content: ["import", "iso"], shared: true });
  dc.addPool(site.nodes);
  dc.addPool(site.templates);
  dc.addToken(site.rootToken, { root: true });
  dc.addToken(site.rolloutToken, options.secret === undefined ? {} : { secret: options.secret });
  for (const [path, privileges] of Object.entries(rolloutPrivileges(dc.version, site))) {
    dc.grant(site.rolloutToken, path, privileges, { role: "EvergreenRollout" });
  }
  dc.addToken(site.bakeToken);
  for (const [path, privileges] of Object.entries(bakePrivileges(dc.version, { ...site, hosts }))) {
    dc.grant(site.bakeToken, path, privileges, { role: "EvergreenBake" });
  }
  dc.addToken(site.readToken, { secret: site.readSecret });
  for (const [path, privileges] of Object.entries(readPrivileges(dc.version, site))) {
    dc.grant(site.readToken, path, privileges, { role: "EvergreenRead" });
  }
  const templates = options.templates ?? [
    { vmid: 9001, image: labImage("1.0.0", "v1.34.4+rke2r1") },
    { vmid: 9002, image: labImage("1.1.0", "v1.34.4+rke2r1") },
  ];
  for (const [index, node] of (shared ? hosts.slice(0, 1) : hosts).entries()) {
    for (const { vmid: first, image } of templates) {
      const vmid = first + 10 * index;
      await addTemplate(dc, { vmid, node, name: image.name, pool: site.templates, image, tags: templateTags(image) });
    }
  }
  dc.see();
}
