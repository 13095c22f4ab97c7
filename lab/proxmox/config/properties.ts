/** Parses and prints the values of options: drives, sizes, NICs, lists, tags. */
import { randomBytes, randomUUID } from "node:crypto";
import { died } from "../answer.ts";

/** A parsed drive option. */
export interface Drive {
  /** Volume id, `none`, `cdrom`, `STORAGE:GIB` or `STORAGE:cloudinit`. */
  file: string;
  options: Map<string, string>;
}

export function parseDrive(value: string): Drive {
  const options = new Map<string, string>();
  let file = "";
  for (const part of value.split(",")) {
    const at = part.indexOf("=");
    if (part === "") continue;
    if (at < 0) file = part;
    else if (part.startsWith("file=")) file = part.slice(5);
    else options.set(part.slice(0, at), part.slice(at + 1));
  }
  return { file, options };
}

/** Prints a drive as Proxmox VE does: the file first, then its options by name. */
export function printDrive(drive: Drive): string {
  const options = [...drive.options].sort(([a], [b]) => (a < b ? -1 : 1));
  return [drive.file, ...options.map(([key, value]) => `${key}=${value}`)].join(",");
}

export function isCdrom(drive: Drive): boolean {
  return drive.options.get("media") === "cdrom" || isCloudInitDrive(drive);
}

/** True for a cloud-init drive, existing or requested. */
export function isCloudInitDrive(drive: Drive): boolean {
  return /^[^:]+:cloudinit$/.test(drive.file) || /vm-\d+-cloudinit(\.\w+)?$/.test(drive.file);
}

const units: [string, number][] = [
  ["T", 1024 ** 4],
  ["G", 1024 ** 3],
  ["M", 1024 ** 2],
  ["K", 1024],
];

/** `10G`, `512M` or plain bytes. */
export function printSize(bytes: number): string {
  const unit = units.find(([, size]) => bytes >= size && bytes % size === 0);
  return unit ? `${bytes / unit[1]}${unit[0]}` : String(bytes);
}

/** Bytes of `10G`, `4M` or `1073741824`; undefined when it is not a size. */
export function parseSize(value: string): number | undefined {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)([KMGT]?)$/.exec(value) ?? [];
  if (digits === undefined) return undefined;
  return Math.round(Number(digits) * (units.find(([name]) => name === unit)?.[1] ?? 1));
}

const models = ["virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"];

/** A MAC address in Proxmox VE's own range. */
export function newMac(): string {
  const tail = [...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, "0").toUpperCase());
  return ["BC", "24", "11", ...tail].join(":");
}

export interface Nic {
  model: string;
  mac: string;
  bridge: string | undefined;
  options: Map<string, string>;
}

/** Parses a NIC; without a MAC address it gets a new one. */
export function parseNic(value: string): Nic {
  const nic: Nic = { model: "virtio", mac: "", bridge: undefined, options: new Map() };
  for (const part of value.split(",").filter(Boolean)) {
    const [key = "", ...rest] = part.split("=");
    const content = rest.join("=");
    if (key === "model") nic.model = content;
    else if (key === "macaddr") nic.mac = content;
    else if (models.includes(key)) {
      nic.model = key;
      if (content !== "") nic.mac = content;
    } else if (key === "bridge") nic.bridge = content;
    else nic.options.set(key, content);
  }
  if (!models.includes(nic.model)) throw died(`unable to parse network device options`);
  if (nic.mac === "") nic.mac = newMac();
  return nic;
}

/** Prints a NIC: model and MAC first, then the rest by name. */
export function printNic(nic: Nic): string {
  const options = new Map(nic.options);
  if (nic.bridge !== undefined) options.set("bridge", nic.bridge);
  const rest = [...options].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`);
  return [`${nic.model}=${nic.mac.toUpperCase()}`, ...rest].join(",");
}

/** The parts of a list as Proxmox VE splits it. */
export function listed(value: string | undefined): string[] {
  return (value ?? "").split(/[,; ]+/).filter(Boolean);
}

/** Lower-case, sorted, without duplicates. */
export function normaliseTags(value: string): string {
  return [...new Set(listed(value).map((tag) => tag.toLowerCase()))].sort().join(";");
}

export function newSmbios(): string {
  return `uuid=${randomUUID()}`;
}

/** The key=value parts of a property string; `key` names a part without a key. */
export function parseProperties(value: string, key = ""): Map<string, string> {
  return new Map(
    value
      .split(",")
      .filter(Boolean)
      .map((part): [string, string] => {
        const at = part.indexOf("=");
        return at < 0 ? [key, part] : [part.slice(0, at), part.slice(at + 1)];
      }),
  );
}

/** Whether the agent option enables the agent's channel. */
export function agentEnabled(value: string | number | undefined): boolean {
  return ["1", "on", "yes", "true"].includes(parseProperties(String(value ?? "0"), "enabled").get("enabled") ?? "0");
}
