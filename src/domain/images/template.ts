import type { Device, NodeHardware } from "../model/hardware.ts";
import type { Problem } from "../model/problem.ts";
import type { NodeSpec } from "../model/types.ts";
import { DISK_LIMITS, DRIVE, drivesOf, hardwareOf, propertiesOf, sizeGiB, type TemplateOptions } from "./hardware.ts";

type Fault = Pick<Problem, "what" | "todo">;

/** Options of a template's disk that a clone keeps, or that tell nothing. */
const KEPT_OF_DISK = new Set([
  ...["", "file", "size", "format", "media", "import-from"],
  ...["aio", "cache", "discard", "serial", "queues", "ssd", "iothread", "backup", "replicate"],
  ...DISK_LIMITS,
]);

/** What a clone shall be, as far as its template can stand in the way. */
export type CloneSpec = Pick<NodeSpec, "cores" | "memoryMiB" | "diskGiB" | "hardware"> & {
  storage: string;
  fullClones: boolean;
};

/**
 * The options of a template that its clones would lose or change silently, and those that would make a clone fail
 * halfway. Cores, memory, the bridge of the first card, disk size and name servers are set by the configuration, so
 * another value in the template is no loss; what a clone keeps is in hardware.ts.
 */
export function templateFaults(options: TemplateOptions, vmid: number, clones: readonly CloneSpec[]): Fault[] {
  const names = [...options.keys()];
  return [
    ...[...options].flatMap(([name, value]) => optionFaults(name, value, vmid)),
    ...socketFaults(Number(options.get("sockets") ?? 1), vmid, clones),
    ...vcpuFaults(options.get("vcpus"), vmid, clones),
    ...balloonFaults(options, vmid, clones),
    ...gapFaults(names, vmid),
    ...takenFaults(names, clones),
    ...diskFaults(options.get("scsi0"), vmid, Math.min(...clones.map(({ diskGiB }) => diskGiB))),
    ...storageFaults(options.get("scsi0"), clones),
  ];
}

/** What Proxmox takes and the provider does not, in whatever it reads of a VM: it fails once the clone is made. */
const UNREADABLE = [
  {
    name: /^net\d+$/,
    value: /\btrunks=[^,]*-/,
    form: "a range of VLANs",
    todo: "each VLAN by itself, as trunks=2;3;4",
  },
  { name: DRIVE, value: /\bmbps_(rd|wr)(_max)?=\d*\.\d/, form: "a fraction of a MB/s", todo: "whole numbers" },
  { name: /^memory$/, value: /\D/, form: "its memory in this form", todo: "a plain number of MiB" },
];

function optionFaults(name: string, value: string, vmid: number): Fault[] {
  const lost = (instead: string, todo: string): Fault[] => [
    { what: `the template has ${name}: ${value}, and its clones have ${instead}`, todo },
  ];
  if (/^numa\d+$/.test(name))
    return lost("another size", `qm set ${vmid} --delete ${name}; clones keep the option numa itself`);
  if (/^serial\d+$/.test(name) && value !== "socket")
    return lost("none, for only root may give them one", `qm set ${vmid} --${name} socket`);
  if (isOfHost(name, propertiesOf(value)))
    return [
      {
        what: `the template has ${name}: ${value}, and only root may clone it, no token: it is a device of its host`,
        todo: `qm set ${vmid} --delete ${name}, and name a resource mapping of the device in devices of the pool`,
      },
    ];
  const unreadable = UNREADABLE.find((one) => one.name.test(name) && one.value.test(value));
  if (unreadable)
    return [
      {
        what: `the template has ${name}: ${value}, and the provider cannot read a clone with ${unreadable.form}`,
        todo: `qm set ${vmid} --${name} with ${unreadable.todo}`,
      },
    ];
  if (name === "hookscript") return lost("none", `qm set ${vmid} --delete hookscript; only root may set one`);
  if (name === "agent" && value.includes("freeze-fs-on-backup=0"))
    return lost(
      "their file systems frozen for backups",
      `qm set ${vmid} --agent enabled=1; take node VMs out of the backups instead`,
    );
  if (name === "agent" && /\btype=isa\b/.test(value))
    return lost(
      "an agent on a virtio port",
      `qm set ${vmid} --agent enabled=1, and have the guest's agent listen there`,
    );
  if (name === "protection" && value !== "0")
    return [
      {
        what: `the template has ${name}: ${value}: its clones would have it too, and neither they nor their disks could be removed`,
        todo: `qm set ${vmid} --protection 0; keep the template by the rights on its pool`,
      },
    ];
  return [];
}

/** A device that is passed through by its address, and not by a resource mapping. */
function isOfHost(name: string, given: ReadonlyMap<string, string>): boolean {
  const isSpice = (given.get("host") ?? given.get(""))?.toLowerCase() === "spice";
  return /^(hostpci|usb)\d+$/.test(name) && !given.has("mapping") && !isSpice;
}

function socketFaults(own: number, vmid: number, clones: readonly CloneSpec[]): Fault[] {
  const odd = clones.find(({ cores, hardware }) => cores % (hardware?.cpu?.sockets ?? own) !== 0);
  if (odd === undefined) return [];
  return [
    {
      what: `the template has ${own} sockets, over which ${odd.cores} cores cannot be divided`,
      todo: `set cores of the pool to a multiple of ${own}, or cpu.sockets, or qm set ${vmid} --sockets 1`,
    },
  ];
}

/** The cores of a VM that are plugged in at its start: a clone keeps their number. */
function vcpuFaults(own: string | undefined, vmid: number, clones: readonly CloneSpec[]): Fault[] {
  const odd = clones.find(({ cores }) => own !== undefined && cores !== Number(own));
  if (own === undefined || odd === undefined) return [];
  return [
    {
      what: `the template has vcpus: ${own}, and a clone shall have ${odd.cores} cores`,
      todo: `qm set ${vmid} --delete vcpus: clones have all their cores then`,
    },
  ];
}

/** Proxmox refuses a balloon that leaves more than the whole memory. */
function balloonFaults(options: TemplateOptions, vmid: number, clones: readonly CloneSpec[]): Fault[] {
  const { balloonMiB: own = 0 } = hardwareOf(options);
  const small = clones.find(({ memoryMiB, hardware }) => (hardware?.balloonMiB ?? own) > memoryMiB);
  if (small === undefined) return [];
  return [
    {
      what: `the template has balloon: ${own}, and a clone shall have ${small.memoryMiB} MiB of memory in all`,
      todo: `set balloonMiB of the pool to at most ${small.memoryMiB}, or memoryMiB to ${own} or more, or qm set ${vmid} --balloon 0`,
    },
  ];
}

/** Further disks and devices get the numbers after those of the system disk, and from 0 on. */
function takenFaults(names: readonly string[], clones: readonly CloneSpec[]): Fault[] {
  const count = (of: (hardware: NodeHardware) => number): number =>
    Math.max(...clones.map(({ hardware = {} }) => of(hardware)));
  const devices = (kind: Device["kind"]) => (hardware: NodeHardware) =>
    hardware.devices?.filter((device) => device.kind === kind).length ?? 0;
  const isTaken = (name: string): boolean => {
    const [, kind, number] = /^(scsi|hostpci|usb)(\d+)$/.exec(name) ?? [];
    if (kind === "scsi") return Number(number) > 0 && Number(number) <= count(({ disks = [] }) => disks.length);
    return kind !== undefined && Number(number) < count(devices(kind === "usb" ? "usb" : "pci"));
  };
  return names.filter(isTaken).map((name) => ({
    what: `the template has ${name}, and the configuration asks for a disk or device in its place`,
    todo: "take it off the template, or out of the configuration: clones keep what the template has",
  }));
}

/** What the provider numbers without a gap. */
const NUMBERED = [
  { kind: "net", parts: "cards" },
  { kind: "serial", parts: "serial ports" },
];

function gapFaults(names: readonly string[], vmid: number): Fault[] {
  return NUMBERED.flatMap(({ kind, parts }) => {
    const own = names.filter((name) => new RegExp(`^${kind}\\d+$`).test(name));
    const missing = own.findIndex((_, index) => !own.includes(`${kind}${index}`));
    if (missing < 0) return [];
    return [
      {
        what: `the template has ${own.toSorted().join(", ")} and no ${kind}${missing}: its clones would have their ${parts} in other places`,
        todo: `number its ${parts} from ${kind}0 on without a gap (qm set ${vmid} --${kind}${missing} ...)`,
      },
    ];
  });
}

function diskFaults(disk: string | undefined, vmid: number, diskGiB: number): Fault[] {
  if (disk === undefined)
    return [
      {
        what: "the template has no disk scsi0, and its clones would boot from a new, empty one",
        todo: `attach its disk as scsi0 (qm disk unlink, qm set ${vmid} --scsi0 VOLUME), or bake the image anew`,
      },
    ];
  const given = propertiesOf(disk);
  const lost = [...given].filter(([name]) => !KEPT_OF_DISK.has(name)).map(([name, value]) => `${name}=${value}`);
  const size = sizeGiB(given.get("size") ?? "");
  return [
    ...lost.map((option) => ({
      what: `the template's disk has ${option}, and its clones would lose it`,
      todo: `attach the disk without it: qm set ${vmid} --scsi0 VOLUME with the other options`,
    })),
    ...(size === undefined || size <= diskGiB ? [] : [tooGreat(size, diskGiB)]),
  ];
}

/**
 * The drives that keep a clone on the host of its template: the provider would clone it there, and then move the clone,
 * which takes a right that it has not.
 * @param hosts other hosts that clones shall be made on
 * @param own storages that are not shared
 */
export function boundFaults(
  options: TemplateOptions,
  { vmid, host }: { vmid: number; host: string },
  hosts: readonly string[],
  own: ReadonlySet<string>,
): Fault[] {
  return drivesOf(options)
    .filter(({ storage }) => own.has(storage))
    .map(({ name, storage, isCdrom }) => ({
      what: `${name} of the template is on ${storage}, which is not shared, or out of the token's sight: it can be cloned on ${host} only, and not on ${hosts.join(", ")}`,
      todo: isCdrom
        ? `qm set ${vmid} --delete ${name}: clones get a cloud-init drive of their own`
        : `copy the template to each of these hosts, with its name and its tags, move ${name} to a shared storage, or take them out of the hosts of the pool`,
    }));
}

/** A linked clone is a difference to the template's disk, and lies beside it. */
function storageFaults(disk: string | undefined, clones: readonly CloneSpec[]): Fault[] {
  const own = /^(?:file=)?([^:,]+):/.exec(disk ?? "")?.[1];
  const away = clones.find(({ storage, fullClones }) => !fullClones && storage !== own);
  if (own === undefined || away === undefined) return [];
  return [
    {
      what: `the template's disk is on ${own}, and its clones shall be on ${away.storage}: a linked clone stays beside its template`,
      todo: `set fullClones of the pool to true, or its storage to ${own}, or move the template's disk`,
    },
  ];
}

function tooGreat(size: number, diskGiB: number): Fault {
  return {
    what: `the template's disk has ${size} GiB, and a clone shall have ${diskGiB}: a disk cannot be made smaller`,
    todo: `set diskGiB of the pool to ${Math.ceil(size)} or more, or bake the image with a smaller disk`,
  };
}
