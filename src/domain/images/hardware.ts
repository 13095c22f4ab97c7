import type { Cpu, DiskOptions, NetworkCard, TemplateHardware } from "../model/hardware.ts";

/** Options of a template, as Proxmox lists them: each value is a text. */
export type TemplateOptions = ReadonlyMap<string, string>;

/** The CPU type of a clone whose template has none, or a lesser one: the least that Kubernetes' images are built for. */
export const LEAST_CPU = "x86-64-v2-AES";

/** The models of network cards that a guest of ours has drivers for. */
export const NETWORK_MODELS = ["virtio", "e1000", "e1000e", "vmxnet3", "rtl8139"] as const;

/** CPU types that offer a guest nothing that `LEAST_CPU` lacks. */
const LESSER_CPUS = ["kvm32", "kvm64", "qemu32", "qemu64", "x86-64-v2", LEAST_CPU];

/** The limits of a disk that the provider can set. */
export const DISK_LIMITS = ["mbps_rd", "mbps_wr", "iops_rd", "iops_wr"].flatMap((name) => [name, `${name}_max`]);

/** The parts of a property string such as `local:vm-1-disk-0,size=10G`; a part without a key has the key "". */
export function propertiesOf(value: string): Map<string, string> {
  return new Map(
    value.split(",").map((part): [string, string] => {
      const [, key, rest] = /^([^=]*)=(.*)$/.exec(part) ?? [];
      return key === undefined ? ["", part] : [key, rest ?? ""];
    }),
  );
}

/** Names of drives. */
export const DRIVE = /^(ide|sata|scsi|virtio|efidisk|tpmstate)\d+$/;

/** The drives of a template: disks, CD drives, and those of its firmware. */
export function drivesOf(
  options: TemplateOptions,
): { name: string; storage: string; sizeGiB: number; isCdrom: boolean }[] {
  return [...options].flatMap(([name, value]) => {
    const given = propertiesOf(value);
    const [storage = "", volume] = volumeOf(given).split(":");
    if (!DRIVE.test(name) || volume === undefined) return [];
    const size = sizeGiB(given.get("size") ?? "") ?? 0;
    return [{ name, storage, sizeGiB: size, isCdrom: given.get("media") === "cdrom" }];
  });
}

/** The volume of a drive: `local:9001/base-9001-disk-0.qcow2`, or `none` and `cdrom` for an empty drive and the host's. */
export function volumeOf(drive: ReadonlyMap<string, string>): string {
  return drive.get("file") ?? drive.get("") ?? "none";
}

/** Reads what a clone keeps of a template. What it cannot keep is a fault (template.ts). */
export function hardwareOf(options: TemplateOptions): TemplateHardware {
  const cpu = cpuOf(options);
  const balloon = Number(options.get("balloon") ?? 0);
  const controller = options.get("scsihw") ?? "virtio-scsi-pci";
  const serials = numbered(options, "serial");
  const disk = diskOf(propertiesOf(options.get("scsi0") ?? ""));
  const agent = propertiesOf(options.get("agent") ?? "");
  return {
    ...(isEmpty(cpu) ? {} : { cpu }),
    ...(balloon > 0 ? { balloonMiB: balloon } : {}),
    ...(controller.startsWith("virtio-scsi") ? {} : { scsiController: controller }),
    networks: numbered(options, "net").map(cardOf),
    ...(isEmpty(disk) ? {} : { systemDisk: disk }),
    ...(serials.length === 0 ? {} : { serials }),
    ...(isOn(agent.get("fstrim_cloned_disks")) ? { trimsClones: true as const } : {}),
  };
}

function cpuOf(options: TemplateOptions): Cpu {
  const cpu = propertiesOf(options.get("cpu") ?? "");
  const type = cpu.get("cputype") ?? cpu.get("") ?? "";
  const flags = (cpu.get("flags") ?? "").split(";").filter((flag) => flag !== "");
  const sockets = Number(options.get("sockets") ?? 1);
  return {
    ...(type === "" || LESSER_CPUS.includes(type) ? {} : { type }),
    ...(flags.length === 0 ? {} : { flags }),
    ...(sockets > 1 ? { sockets } : {}),
    ...(isOn(options.get("numa")) ? { numa: true } : {}),
  };
}

const isEmpty = (value: object): boolean => Object.keys(value).length === 0;

const isOn = (value: string | undefined): boolean => value === "1";

/** The values of `net0`, `net1` and so on. */
function numbered(options: TemplateOptions, name: string): string[] {
  return [...options]
    .flatMap(([key, value]) => {
      const number = new RegExp(`^${name}(\\d+)$`).exec(key)?.[1];
      return number === undefined ? [] : [{ number: Number(number), value }];
    })
    .toSorted((a, b) => a.number - b.number)
    .map(({ value }) => value);
}

/** `virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20`, or with `model=virtio,macaddr=...` in place of the first part. */
function cardOf(value: string): NetworkCard {
  const given = propertiesOf(value);
  const first = /^([^=,]+)/.exec(value)?.[1] ?? "";
  const [bridge, trunks] = [given.get("bridge"), given.get("trunks")];
  return {
    model: given.get("model") ?? first,
    ...(bridge === undefined ? {} : { bridge }),
    ...(trunks === undefined ? {} : { trunks }),
    ...numbers(given, { tag: "vlan", mtu: "mtu", queues: "queues", rate: "rateMBps" }),
    ...(isOn(given.get("firewall")) ? { firewall: true } : {}),
    ...(isOn(given.get("link_down")) ? { isUnplugged: true as const } : {}),
  };
}

function diskOf(given: ReadonlyMap<string, string>): DiskOptions {
  const limits = numbers(given, Object.fromEntries(DISK_LIMITS.map((name) => [name, name]))) as Record<string, number>;
  const texts = (["aio", "cache", "serial"] as const).flatMap((name) => {
    const text = given.get(name);
    return text === undefined ? [] : [[name, text]];
  });
  return {
    ...(Object.fromEntries(texts) as Pick<DiskOptions, "aio" | "cache" | "serial">),
    ...numbers(given, { queues: "queues" }),
    ...(isOn(given.get("ssd")) ? { ssd: true } : {}),
    ...(given.get("discard") === "on" ? { discard: true } : {}),
    ...(isOn(given.get("iothread")) ? { iothread: true } : {}),
    ...(given.get("backup") === "0" ? { backup: false } : {}),
    ...(given.get("replicate") === "0" ? { replicate: false } : {}),
    ...(isEmpty(limits) ? {} : { limits }),
  };
}

/** Those of some options that are given and not 0, as numbers under other names. */
function numbers<Name extends string>(
  given: ReadonlyMap<string, string>,
  names: Readonly<Record<string, Name>>,
): Partial<Record<Name, number>> {
  const found = Object.entries(names).flatMap(([option, name]) => {
    const number = Number(given.get(option) ?? 0);
    return Number.isFinite(number) && number > 0 ? [[name, number] as const] : [];
  });
  return Object.fromEntries(found) as Partial<Record<Name, number>>;
}

/** Size in GiB of a text such as `10G` or `3584M`; undefined when Proxmox does not state it. */
export function sizeGiB(size: string): number | undefined {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)([KMGT]?)$/.exec(size) ?? [];
  return number === undefined ? undefined : (Number(number) * 1024 ** " KMGT".indexOf(unit || " ")) / 1024 ** 3;
}
