/** The schemas of options that are property strings. */
import { isIPv4, isIPv6 } from "node:net";
import { cpu, cpuProblem } from "./cpu-format.ts";
import { listed } from "./properties.ts";
import { propertyProblem } from "./property-format.ts";
import type { Properties, Property } from "./property-format.ts";

const flag: Property = { type: "boolean" };
const text: Property = { type: "string" };
const count = (minimum: number, maximum?: number): Property => ({
  type: "integer",
  minimum,
  ...(maximum !== undefined && { maximum }),
});
const matching = (pattern: RegExp): Property => ({ type: "string", pattern });
const oneOf = (...values: string[]): Property => ({ type: "string", enum: values });
const shaped = (pattern: RegExp, what: string): Property => ({
  type: "string",
  format: (value) => (pattern.test(value) ? undefined : `invalid format - ${what}\n`),
});
const fitting = (is: (value: string) => boolean, what: string): Property => ({
  type: "string",
  format: (value) => (is(value) ? undefined : `invalid format - value does not look like a valid ${what}\n`),
});

const models = [
  "e1000",
  "e1000-82540em",
  "e1000-82544gc",
  "e1000-82545em",
  "e1000e",
  "i82551",
  "i82557b",
  "i82559er",
  "ne2k_isa",
  "ne2k_pci",
  "pcnet",
  "rtl8139",
  "virtio",
  "vmxnet3",
];

const net: Properties = {
  // The group bit must not be set.
  macaddr: shaped(/^[a-f0-9][02468ace](?::[a-f0-9]{2}){5}$/i, "value does not look like a valid unicast MAC address"),
  model: { type: "string", required: true, isDefault: true, enum: models },
  ...Object.fromEntries(models.map((name) => [name, { ...text, alias: { value: "macaddr", name: "model" } }])),
  bridge: shaped(/^[-_.\w]+$/, "value does not look like a valid bridge"),
  queues: count(0, 64),
  rate: { type: "number", minimum: 0 },
  tag: count(1, 4094),
  trunks: matching(/^\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*$/),
  firewall: flag,
  link_down: flag,
  mtu: count(1, 65_520),
};

function network(value: string): boolean {
  const [address = "", prefix = "", ...rest] = value.split("/");
  return isIPv4(address) && /^\d+$/.test(prefix) && Number(prefix) > 7 && Number(prefix) <= 32 && rest.length === 0;
}

function network6(value: string): boolean {
  const [address = "", prefix = "", ...rest] = value.split("/");
  return isIPv6(address) && /^\d+$/.test(prefix) && Number(prefix) > 7 && Number(prefix) <= 128 && rest.length === 0;
}

const ipconfig: Properties = {
  ip: fitting((value) => value === "dhcp" || value === "manual" || network(value), "ipv4 network configuration"),
  gw: { ...fitting(isIPv4, "IPv4 address"), requires: "ip" },
  ip6: fitting((value) => ["auto", "dhcp", "manual"].includes(value) || network6(value), "ipv6 network configuration"),
  gw6: { ...fitting(isIPv6, "IPv6 address"), requires: "ip6" },
};

const agent: Properties = {
  enabled: { ...flag, required: true, isDefault: true },
  fstrim_cloned_disks: flag,
  "freeze-fs-on-backup": flag,
  type: oneOf("virtio", "isa"),
};

const base64 = matching(/^[A-Za-z0-9+/]+={0,2}$/);

const smbios1: Properties = {
  uuid: matching(/^[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}$/),
  ...Object.fromEntries(["version", "serial", "manufacturer", "product", "sku", "family"].map((key) => [key, base64])),
  base64: flag,
};

const memory: Properties = { current: { ...count(16), required: true, isDefault: true } };

const startup: Properties = { order: { ...count(0), isDefault: true }, up: count(0), down: count(0) };

/** Options of drives of every kind; `file` is checked elsewhere. */
export const driveOptions: Properties = {
  file: { ...text, isDefault: true },
  media: { type: "string", enum: ["cdrom", "disk"] },
  cache: { type: "string", enum: ["none", "writethrough", "writeback", "unsafe", "directsync"] },
  format: { type: "string", enum: ["raw", "qcow", "qed", "qcow2", "vmdk", "cloop"] },
  aio: { type: "string", enum: ["native", "threads", "io_uring"] },
  discard: { type: "string", enum: ["ignore", "on"] },
  rerror: { type: "string", enum: ["ignore", "report", "stop"] },
  werror: { type: "string", enum: ["enospc", "ignore", "report", "stop"] },
  ...Object.fromEntries(
    ["size", "serial", "model", "import-from", "efitype", "version", "wwn", "product", "vendor"].map((key) => [
      key,
      text,
    ]),
  ),
  ...Object.fromEntries(
    ["backup", "snapshot", "replicate", "detect_zeroes", "shared", "ssd", "iothread", "scsiblock", "ro"].map((key) => [
      key,
      flag,
    ]),
  ),
  "pre-enrolled-keys": flag,
  queues: count(2),
  ...Object.fromEntries(
    ["bps", "iops", "mbps"]
      .flatMap((kind) =>
        ["", "_rd", "_wr"].flatMap((way) => ["", "_max", "_max_length"].map((what) => kind + way + what)),
      )
      .map((key): [string, Property] => [key, { type: "number", minimum: 0 }]),
  ),
};

function bootDevices(value: string): string | undefined {
  const wrong = listed(value).find((device) => !/^(?:ide|sata|scsi|virtio|net|usb|hostpci)\d+$/.test(device));
  return wrong === undefined ? undefined : `invalid format - invalid boot device '${wrong}'\n`;
}

const boot: Properties = {
  legacy: { ...matching(/^[acdn]{1,4}$/), isDefault: true },
  order: { type: "string", format: bootDevices },
};

const vga: Properties = {
  type: {
    ...oneOf(
      ..."cirrus qxl qxl2 qxl3 qxl4 none serial0 serial1 serial2 serial3 std virtio virtio-gl vmware".split(" "),
    ),
    isDefault: true,
  },
  memory: count(4, 512),
  clipboard: oneOf("vnc"),
};

const machineVersion = String.raw`-\d+(?:\.\d+)+(?:\+pve\d+)?(?:\.pxe)?`;

const machine: Properties = {
  type: {
    ...matching(
      new RegExp(
        `^(?:pc|pc(?:-i440fx)?${machineVersion}|(?:pc-)?q35${machineVersion}|q35|virt(?:${machineVersion})?)$`,
      ),
    ),
    maxLength: 40,
    isDefault: true,
  },
  viommu: oneOf("intel", "virtio"),
  "enable-s3": flag,
  "enable-s4": flag,
};

const watchdog: Properties = {
  model: { ...oneOf("i6300esb", "ib700"), isDefault: true },
  action: oneOf("reset", "shutdown", "poweroff", "pause", "debug", "none"),
};

const volume: Property = {
  type: "string",
  format: (value) =>
    /^[a-z][a-z0-9\-_.]*[a-z0-9]:.+$/i.test(value)
      ? undefined
      : `invalid format - unable to parse volume ID '${value}'\n`,
};

const cicustom: Properties = { meta: volume, network: volume, user: volume, vendor: volume };

const virtiofs: Properties = {
  dirid: {
    type: "string",
    required: true,
    isDefault: true,
    format: (value) =>
      /^[a-z][a-z0-9_-]+$/i.test(value) ? undefined : `invalid format - invalid configuration ID '${value}'\n`,
  },
  cache: oneOf("auto", "always", "metadata", "never"),
  "direct-io": flag,
  "expose-xattr": flag,
  "expose-acl": flag,
};

const audio0: Properties = {
  device: { ...oneOf("ich9-intel-hda", "intel-hda", "AC97"), required: true },
  driver: oneOf("spice", "none"),
};

const named: Readonly<Record<string, Properties>> = {
  agent,
  audio0,
  boot,
  cicustom,
  machine,
  memory,
  smbios1,
  startup,
  vga,
  watchdog,
};
const families: Readonly<Record<string, Properties>> = { net, ipconfig, virtiofs };

function propertiesOf(name: string): Properties | undefined {
  if (Object.hasOwn(named, name)) return named[name];
  const family = /^([a-z]+)\d+$/.exec(name)?.[1] ?? "";
  return Object.hasOwn(families, family) ? families[family] : undefined;
}

/** The check of an option that is a property string; undefined: it is none, or it is not checked. */
export function formatOf(name: string): ((value: string) => string | undefined) | undefined {
  if (name === "cpu") return (value) => propertyProblem(cpu, name, value, cpuProblem);
  const properties = propertiesOf(name);
  return properties && ((value) => propertyProblem(properties, name, value));
}
