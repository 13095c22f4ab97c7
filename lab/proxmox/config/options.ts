/** All options of a VM, with their schemas and the privileges that they need. */
import type { Spec } from "../params.ts";
import { dnsName } from "../params.ts";
import type { Value } from "../model.ts";
import { formatOf } from "./formats.ts";
import { listed } from "./properties.ts";

/** The privilege that an option needs; "device": its value decides; "root": no token may set it. */
export type Group =
  | "CPU"
  | "Memory"
  | "HWType"
  | "Options"
  | "Disk"
  | "Network"
  | "Cloudinit"
  | "PowerMgmt"
  | "drive"
  | "device"
  | "root";

export interface Option {
  group: Group;
  spec: Spec;
}

const text: Spec = { type: "string" };
const int: Spec = { type: "integer" };
const flag: Spec = { type: "boolean" };

/** Checks the kinds of devices that may be added and removed while a VM runs. */
function hotplugFormat(value: string): string | undefined {
  if (value === "0" || value === "1") return undefined;
  const wrong = listed(value).find((each) => !["network", "disk", "cpu", "memory", "usb", "cloudinit"].includes(each));
  return wrong === undefined ? undefined : `invalid format - invalid hotplug feature '${wrong}'\n`;
}

function tagList(value: string): string | undefined {
  return listed(value).every((tag) => /^[a-z0-9_][a-z0-9_\-+.]*$/i.test(tag))
    ? undefined
    : "invalid format - invalid characters in tag\n";
}

function urlEncoded(value: string): string | undefined {
  return /^[-%a-zA-Z0-9_.!~*'()]*$/.test(value) ? undefined : `invalid format - invalid urlencoded string: ${value}\n`;
}

const scsihw = ["lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"];
const ostype = [
  "other",
  "wxp",
  "w2k",
  "w2k3",
  "w2k8",
  "wvista",
  "win7",
  "win8",
  "win10",
  "win11",
  "l24",
  "l26",
  "solaris",
];
const keymaps = "de de-ch da en-gb en-us es fi fr fr-be fr-ca fr-ch hu is it ja lt mk nl no pl pt pt-br sv sl tr".split(
  " ",
);
const startdate = /^(?:now|\d{4}-\d{1,2}-\d{1,2}(?:T\d{1,2}:\d{1,2}:\d{1,2})?)$/;

const groups: [Group, Record<string, Spec>][] = [
  [
    "CPU",
    {
      cores: { ...int, minimum: 1 },
      cpu: text,
      cpulimit: { type: "number", minimum: 0, maximum: 128 },
      cpuunits: { ...int, minimum: 1, maximum: 262_144 },
      numa: flag,
      sockets: { ...int, minimum: 1 },
      vcpus: { ...int, minimum: 1 },
    },
  ],
  [
    "Memory",
    {
      balloon: { ...int, minimum: 0 },
      memory: text,
      shares: { ...int, minimum: 0, maximum: 50_000 },
    },
  ],
  [
    "HWType",
    {
      acpi: flag,
      hotplug: { ...text, format: hotplugFormat },
      kvm: flag,
      machine: text,
      scsihw: { ...text, enum: scsihw },
      smbios1: text,
      tablet: flag,
      vga: text,
      watchdog: text,
      audio0: text,
      rng0: text,
    },
  ],
  [
    "Options",
    {
      agent: text,
      autostart: flag,
      bios: { ...text, enum: ["seabios", "ovmf"] },
      description: { ...text, maxLength: 8192 },
      keyboard: { ...text, enum: keymaps },
      localtime: flag,
      migrate_downtime: { type: "number", minimum: 0 },
      migrate_speed: { ...int, minimum: 0 },
      name: { ...text, format: dnsName },
      onboot: flag,
      ostype: { ...text, enum: ostype },
      protection: flag,
      reboot: flag,
      startdate: { ...text, pattern: startdate },
      startup: text,
      tdf: flag,
      template: flag,
      tags: { ...text, format: tagList },
    },
  ],
  ["Disk", { boot: text, bootdisk: text, vmstatestorage: text }],
  [
    "Cloudinit",
    {
      cicustom: text,
      cipassword: text,
      citype: { ...text, enum: ["configdrive2", "nocloud", "opennebula"] },
      ciupgrade: flag,
      ciuser: text,
      nameserver: text,
      searchdomain: text,
      sshkeys: { ...text, format: urlEncoded },
    },
  ],
  ["PowerMgmt", { freeze: flag }],
  [
    "root",
    {
      args: text,
      arch: text,
      affinity: text,
      hookscript: text,
      hugepages: text,
      ivshmem: text,
      keephugepages: flag,
      lock: text,
      vmgenid: text,
    },
  ],
];

const named = new Map<string, Option>(
  groups.flatMap(([group, specs]) => Object.entries(specs).map(([name, spec]) => [name, { group, spec }] as const)),
);

const numbered: Record<string, { count: number; group: Group }> = {
  ide: { count: 4, group: "drive" },
  sata: { count: 6, group: "drive" },
  scsi: { count: 31, group: "drive" },
  virtio: { count: 16, group: "drive" },
  efidisk: { count: 1, group: "drive" },
  tpmstate: { count: 1, group: "drive" },
  unused: { count: 256, group: "device" },
  serial: { count: 4, group: "device" },
  parallel: { count: 3, group: "device" },
  usb: { count: 14, group: "device" },
  hostpci: { count: 16, group: "device" },
  virtiofs: { count: 10, group: "device" },
  net: { count: 32, group: "Network" },
  ipconfig: { count: 32, group: "Cloudinit" },
  numa: { count: 8, group: "CPU" },
};

/** All drives that a VM can have, in the order in which Proxmox VE names them. */
export const driveNames = ["ide", "scsi", "virtio", "sata", "efidisk", "tpmstate"].flatMap((kind) =>
  Array.from({ length: numbered[kind]?.count ?? 0 }, (_, index) => `${kind}${index}`),
);

/** A VM option by its name; undefined when there is none. */
export function optionOf(name: string): Option | undefined {
  const found = plainOption(name);
  const format = formatOf(name);
  return found && format ? { ...found, spec: { ...found.spec, format } } : found;
}

function plainOption(name: string): Option | undefined {
  const found = named.get(name);
  if (found) return found;
  const [, kind = "", index = ""] = /^([a-z]+)(\d+)$/.exec(name) ?? [];
  const family = Object.hasOwn(numbered, kind) ? numbered[kind] : undefined;
  if (!family || Number(index) >= family.count || String(Number(index)) !== index) return undefined;
  return { group: family.group, spec: text };
}

export function isDrive(name: string): boolean {
  return optionOf(name)?.group === "drive";
}

export function isCloudInit(name: string): boolean {
  return optionOf(name)?.group === "Cloudinit";
}

/** A parameter as the configuration stores it: booleans and numbers become numbers. */
export function valueOf(name: string, given: string): Value {
  const spec = optionOf(name)?.spec;
  if (spec?.type === "boolean") return given === "1" ? 1 : 0;
  if (spec?.type === "integer" || spec?.type === "number") return Number(given);
  return given;
}
