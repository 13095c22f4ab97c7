/** A bake as an order: what it is told, what its VM and its CD are called, and the line that says whose the VM is. */
import { createHash } from "node:crypto";
import { contentDigest, templateNameOf, type ImageDefinition } from "./definition.ts";
import { LEAST_CPU, type TemplateOptions } from "./hardware.ts";
import type { BakeSources, Network } from "./user-data.ts";
import { imageTags, vmTags } from "../model/formats.ts";

/** All that decides a bake, as plain data. */
export interface BakeOrder {
  definition: ImageDefinition;
  /** The image's digest (`digestOf`): a bake of what has another digest by now is refused. */
  digest: string;
  /** Folder of the definition, relative to the program's own: `images/ubuntu-24-04-rke2`. */
  folder: string;
  /** Folder with what runs in the guest, relative to the program's own: `images/bake`. */
  shell: string;
  sources: BakeSources;
  /** VMID of the VM, and of the template that it becomes. */
  vmid: number;
  /** The VMIDs of bakes: no other VM is ever touched. */
  range: { first: number; last: number };
  /** Volume of the base image, of content `import`: `images:import/noble-20260725.qcow2`. */
  base: string;
  place: BakePlace;
  /** Proxmox host, where a stack names one for this template: part of the names of its resources. */
  onHost?: string;
  /** Folder for the log of a bake that failed, relative to the program's own. */
  evidence: string;
}

/** Where a bake's VM is. */
export interface BakePlace {
  host: string;
  /** Proxmox pool of templates. */
  pool: string;
  /** Storage of the template's disk. */
  storage: string;
  /** Storage of the base image and of the CD. No node has a disk there: the token of bakes may remove all that it has. */
  imageStorage: string;
  bridge: string;
  /** VLAN of its network card; absent: none. */
  vlan?: number;
  /** Fixed address of the guest while it bakes; absent: DHCP. */
  address?: NonNullable<Network["address"]>;
  cores: number;
  memoryMiB: number;
}

/**
 * How far a bake is, as the notes of its VM say, for no look at a VM that is off tells it. `made`: never started by us;
 * `begun`: the guest bakes; `sealing`: it seals; `sealed`: nothing of it may run any more; `baked`: the template is ready.
 */
export const PHASES = ["made", "begun", "sealing", "sealed", "baked"] as const;
export type Phase = (typeof PHASES)[number];

/** What the notes of a VM say of its bake. */
export interface BakeMark {
  /** Name of the template. */
  image: string;
  /** The image's digest (`digestOf`), and that of its definition alone (`contentDigest`). */
  digest: string;
  content: string;
  /** VMID that the VM was made with: a copy of it has another one. */
  vmid: number;
  phase: Phase;
}

const NOTE =
  /^Evergreen: bake of (\S+), sha256:([0-9a-f]{64}), defined by sha256:([0-9a-f]{64}), as VM (\d+): (\w+)\s*$/;

/** The line of a VM's notes that says whose bake it is, and how far. */
export function bakeNote({ image, digest, content, vmid, phase }: BakeMark): string {
  return `Evergreen: bake of ${image}, sha256:${digest}, defined by sha256:${content}, as VM ${vmid}: ${phase}`;
}

/** What the notes of a bake's VM say. */
export function markOf(order: Pick<BakeOrder, "definition" | "digest" | "vmid">, phase: Phase): BakeMark {
  const { definition, digest, vmid } = order;
  return { image: imageOf(order), digest, content: contentDigest(definition), vmid, phase };
}

/** @returns undefined when the notes have no such line, or more than one */
export function notedBake(notes: string): BakeMark | undefined {
  const marks = notes.split("\n").flatMap((line) => {
    const [, image = "", digest = "", content = "", vmid = "", word] = NOTE.exec(line) ?? [];
    const phase = PHASES.find((one) => one === word);
    return phase === undefined ? [] : [{ image, digest, content, vmid: Number(vmid), phase }];
  });
  return marks.length === 1 ? marks[0] : undefined;
}

/** The notes with another phase; their other lines stay. */
export function notesWith(notes: string, mark: BakeMark): string {
  const others = notes.split("\n").filter((line) => line !== "" && !NOTE.test(line));
  return [bakeNote(mark), ...others].join("\n");
}

/** Name of the template that a bake makes. */
export const imageOf = ({ definition }: Pick<BakeOrder, "definition">): string => templateNameOf(definition);

/** Name of the VM until it is the template. */
export const vmNameOf = (order: Pick<BakeOrder, "definition">): string => `bake-${imageOf(order)}`;

/** Tags of the VM until it is the template: no rollout takes it for one. */
export const BAKE_TAGS: readonly string[] = [vmTags.ours, imageTags.bake].toSorted();

/** The version of RKE2 of the template, as its tags say it: Proxmox has them in small letters. */
export const rke2OfTemplate = ({ definition }: Pick<BakeOrder, "definition">): string =>
  definition.rke2.version.toLowerCase();

/** Tags of the template. */
export const templateTagsOf = (order: Pick<BakeOrder, "definition">): string[] =>
  [vmTags.ours, imageTags.image, `${imageTags.rke2}${rke2OfTemplate(order)}`].toSorted();

/** Name of the file of the base image in its storage. */
export const baseFileIn = ({ base }: Pick<BakeOrder, "base">): string => base.slice(base.indexOf("/") + 1);

/** Name of the CD of a bake. It has the digest of the image, so that a CD of another one is never taken for it. */
export const cdNameOf = ({ vmid, digest }: Pick<BakeOrder, "vmid" | "digest">): string =>
  `evergreen-bake-${vmid}-${digest.slice(0, 16)}.iso`;

/** Whether a volume is a CD of a bake with this VMID, whichever. */
export const isCdOf = ({ vmid }: Pick<BakeOrder, "vmid">, volume: string): boolean =>
  new RegExp(`:iso/evergreen-bake-${vmid}-[0-9a-f]{16}\\.iso$`).test(volume);

/** The volume of the CD of a bake. */
export const cdOf = (order: Pick<BakeOrder, "vmid" | "digest" | "place">): string =>
  `${order.place.imageStorage}:iso/${cdNameOf(order)}`;

/** Address of the VM's network card, in Proxmox's own range. The same bake has the same, so that its CD has the same bytes. */
export function macOf({ vmid, digest }: Pick<BakeOrder, "vmid" | "digest">): string {
  const own = createHash("sha256").update(`${vmid} ${digest}`).digest("hex").slice(0, 6).toUpperCase();
  return ["BC", "24", "11", ...(own.match(/../g) ?? [])].join(":");
}

/** The drives of a bake's VM. */
export const BAKE_DRIVES = { disk: "scsi0", cd: "ide2" } as const;

/** Options of its disk: what the seal frees goes back to the storage. */
export const DISK_OPTIONS = "discard=on";

/** The options of a bake's VM that its template keeps, beside those of its disk. */
export function hardwareOptionsOf(
  order: Pick<BakeOrder, "vmid" | "digest" | "place">,
): Record<string, string | number> {
  const { cores, memoryMiB, bridge, vlan } = order.place;
  return {
    ostype: "l26",
    agent: "enabled=1",
    cores,
    memory: memoryMiB,
    cpu: LEAST_CPU,
    scsihw: "virtio-scsi-single",
    boot: `order=${BAKE_DRIVES.disk}`,
    net0: `virtio=${macOf(order)},bridge=${bridge}${vlan === undefined ? "" : `,tag=${vlan}`}`,
    // Cloud images write to it, and some do not boot without.
    serial0: "socket",
  };
}

/**
 * The options that the template of a bake will have, as far as its clones keep any of them: a rollout is planned with
 * them before the template is there. What Proxmox chooses, as the name of the volume, is not known yet.
 */
export function templateOptionsOf(order: BakeOrder): TemplateOptions {
  const { definition, vmid, place } = order;
  const disk = `${place.storage}:base-${vmid}-disk-0,${DISK_OPTIONS},size=${definition.diskGiB}G`;
  const options = Object.entries(hardwareOptionsOf(order)).map(([name, value]) => [name, String(value)] as const);
  return new Map([...options, [BAKE_DRIVES.disk, disk]]);
}
