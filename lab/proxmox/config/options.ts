import type { Spec } from "../params.ts";
import { dnsName, parseFlag } from "../params.ts";
import type { Value } from "../model.ts";
import { propertiesOf } from "./formats.ts";
import { propertyProblem } from "./property-format.ts";

/** Which privilege an option needs; "device": decided by its value; "root": no token may. */
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

function bootFormat(value: string): string | undefined {
  const devices = /^order=(.*)$/.exec(value)?.[1]?.split(";").filter(Boolean);
  const legacy = /^(?:legacy=)?[acdn]{1,4}$/.test(value);
  if (devices === undefined)
    return legacy || value.trim() === ""
      ? undefined
      : `invalid format - format error\nboot.legacy: value does not match the regex pattern\n`;
  const wrong = devices.find((device) => !/^(?:ide|sata|scsi|virtio|net|usb|hostpci)\d+$/.test(device));
  return wrong === undefined
    ? undefined
    : `invalid format - format error\nboot.order: invalid format - invalid boot device '${wrong}'\n`;
}

function tagList(value: string): string | undefined {
  const tags = value.split(/[;, ]+/).filter(Boolean);
  return tags.every((tag) => /^[a-z0-9_][a-z0-9_\-+.]*$/i.test(tag))
    ? undefined
    : "invalid format - invalid characters in tag\n";
}

function urlEncoded(value: string): string | undefined {
  return /^[-%a-zA-Z0-9_.!~*'()]*$/.test(value) ? undefined : `invalid format - invalid urlencoded string: ${value}\n`;
}

const scsihw = ["lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"];
const ostype = ["other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26"];

const groups: [Group, Record<string, Spec>][] = [
  [
    "CPU",
    {
      cores: { ...int, minimum: 1 },
      cpu: text,
      cpulimit: { type: "number" },
      cpuunits: int,
      numa: flag,
      sockets: { ...int, minimum: 1 },
      vcpus: int,
    },
  ],
  [
    "Memory",
    {
      balloon: { ...int, minimum: 0 },
      memory: text,
      shares: int,
    },
  ],
  [
    "HWType",
    {
      acpi: flag,
      hotplug: text,
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
      keyboard: text,
      localtime: flag,
      migrate_downtime: { type: "number" },
      migrate_speed: int,
      name: { ...text, format: dnsName },
      onboot: flag,
      ostype: { ...text, enum: ostype },
      protection: flag,
      reboot: flag,
      startdate: text,
      startup: text,
      tdf: flag,
      template: flag,
      tags: { ...text, format: tagList },
    },
  ],
  ["Disk", { boot: { ...text, format: bootFormat }, bootdisk: text, vmstatestorage: text }],
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

/** A VM option by its name; undefined: there is none. */
export function optionOf(name: string): Option | undefined {
  const found = plainOption(name);
  const properties = propertiesOf(name);
  if (!found || !properties) return found;
  return { ...found, spec: { ...found.spec, format: (value) => propertyProblem(properties, name, value) } };
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

/** A parameter as the configuration holds it: booleans and integers become numbers. */
export function valueOf(name: string, given: string): Value {
  const spec = optionOf(name)?.spec;
  if (spec?.type === "boolean") return parseFlag(given) ? 1 : 0;
  if (spec?.type === "integer" || spec?.type === "number") return Number(given);
  return given;
}
