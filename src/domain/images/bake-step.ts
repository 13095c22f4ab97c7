/** What a bake does next: a pure function of what Proxmox shows of it, so that a bake can end at any request and go on. */
import type { Problem } from "../model/problem.ts";
import { contentDigest } from "./definition.ts";
import { cdOf, imageOf, isCdOf, notedBake, templateTagsOf, vmNameOf, type BakeMark, type BakeOrder } from "./bake.ts";

/** The VM with the VMID of a bake, as its configuration says. */
export interface ObservedBakeVm {
  /** Proxmox host that it is on. */
  host: string;
  name: string;
  /** Notes of the VM. */
  notes: string;
  tags: readonly string[];
  /** SMBIOS uuid. */
  uuid: string;
  /** Fingerprint of the configuration. */
  config: string;
  isTemplate: boolean;
  isRunning: boolean;
  /** What Proxmox does to it now; absent: nothing. */
  lock?: string;
  /** Volume of its CD drive; absent: it has no drive. */
  cd?: string;
  /** Size of its disk. */
  diskGiB: number;
  /** Whether its disk is a base of linked clones. */
  isBase: boolean;
}

/** What Proxmox shows of a bake. */
export interface ObservedBake {
  /**
   * `in-the-making`: a task of ours makes it, and the token does not see it before it is in its pool; `hidden`: what the
   * token does not see has the VMID; absent: it is free.
   */
  vm?: ObservedBakeVm | "in-the-making" | "hidden";
  /** Another VM of the host that has the name of the template already. */
  twin?: { vmid: number; host: string };
  /** CDs of the storage that are of a bake with this VMID. */
  cds: readonly string[];
  hasBase: boolean;
}

/** The next thing that a bake does. Each one changes what is observed. */
export type BakeStep =
  | { do: "done" }
  | { do: "refuse"; problem: Problem }
  /** Waits until Proxmox has finished what it does to the VM. */
  | { do: "await-lock"; lock: string }
  | { do: "remove-cd"; volume: string }
  /** Destroys the VM: nothing can be made of it. The bake begins anew. */
  | { do: "discard"; why: string }
  | { do: "upload" }
  | { do: "create" }
  | { do: "grow" }
  | { do: "begin" }
  | { do: "await-bake" }
  | { do: "seal" }
  | { do: "shut-down" }
  | { do: "eject" }
  | { do: "convert" }
  | { do: "publish" };

/** Decides what a bake does next. */
export function nextStep(order: BakeOrder, { vm, twin, cds, hasBase }: ObservedBake): BakeStep {
  const foreign = refusalOf(order, vm, twin);
  if (foreign !== undefined) return { do: "refuse", problem: foreign };
  const own = cds.filter((volume) => isCdOf(order, volume));
  if (vm === undefined || vm === "hidden") return beforeVm(order, own, hasBase);
  if (vm === "in-the-making") return { do: "await-lock", lock: "create" };
  // A VM that is being made has no notes yet.
  if (vm.lock !== undefined) return { do: "await-lock", lock: vm.lock };
  const mark = notedBake(vm.notes);
  return vm.isTemplate ? stepOfTemplate(order, vm, own, mark) : stepOfVm(order, vm, own, mark);
}

function beforeVm(order: BakeOrder, cds: readonly string[], hasBase: boolean): BakeStep {
  const stale = cds.find((volume) => volume !== cdOf(order));
  if (stale !== undefined) return { do: "remove-cd", volume: stale };
  if (!hasBase) return { do: "refuse", problem: noBase(order) };
  return cds.length === 0 ? { do: "upload" } : { do: "create" };
}

function stepOfVm(order: BakeOrder, vm: ObservedBakeVm, cds: readonly string[], mark: BakeMark | undefined): BakeStep {
  switch (mark?.phase) {
    case "made":
      return !vm.isRunning && vm.diskGiB < order.definition.diskGiB ? { do: "grow" } : { do: "begin" };
    case "begun":
      return vm.isRunning ? { do: "await-bake" } : { do: "discard", why: "its guest went off while it baked" };
    case "sealing":
      return vm.isRunning ? { do: "seal" } : { do: "discard", why: "its guest went off while it was sealed" };
    case "sealed":
      return vm.isRunning ? { do: "shut-down" } : (withoutCd(vm, cds) ?? { do: "convert" });
    default:
      return { do: "discard", why: "it is a template no more" };
  }
}

function stepOfTemplate(
  order: BakeOrder,
  vm: ObservedBakeVm,
  cds: readonly string[],
  mark: BakeMark | undefined,
): BakeStep {
  if (isPublished(order, vm)) return withoutCd(vm, cds) ?? { do: "done" };
  if (mark?.phase !== "baked" && !vm.isBase)
    return { do: "discard", why: "its conversion to a template was broken off" };
  return withoutCd(vm, cds) ?? { do: "publish" };
}

/** The drive goes before the file: a VM with a drive whose file is not there does not start. */
function withoutCd({ cd }: ObservedBakeVm, cds: readonly string[]): BakeStep | undefined {
  if (cd !== undefined) return { do: "eject" };
  const [volume] = cds;
  return volume === undefined ? undefined : { do: "remove-cd", volume };
}

/** Whether a template is ready, under the name and with the tags by which rollouts find it. */
export function isPublished(order: BakeOrder, { name, notes, tags, isTemplate }: ObservedBakeVm): boolean {
  const isNamed = name === imageOf(order) && templateTagsOf(order).every((tag) => tags.includes(tag));
  return isTemplate && isNamed && notedBake(notes)?.phase === "baked";
}

/** Whether a VM may be stopped and destroyed: it is of this bake, and no template that a rollout may use. */
export function mayDiscard(order: BakeOrder, vm: ObservedBakeVm): boolean {
  return vm.lock === undefined && refusalOf(order, vm) === undefined && notedBake(vm.notes)?.phase !== "baked";
}

/** What keeps a bake from this VMID. Of a locked VM nothing is said: it may not have its notes yet. */
function refusalOf(order: BakeOrder, vm: ObservedBake["vm"], twin?: ObservedBake["twin"]): Problem | undefined {
  const { vmid, range, digest } = order;
  const image = imageOf(order);
  if (vmid < range.first || vmid > range.last)
    return {
      what: `the bake of ${image} shall be VM ${vmid}, which is none of the VMIDs of bakes`,
      where: `the bake of ${image}`,
      todo: `plan it between ${range.first} and ${range.last}`,
    };
  if (twin !== undefined)
    return {
      what: `a VM is called ${image} already, and it is not of this bake`,
      where: `VM ${twin.vmid} on ${twin.host}`,
      todo: "give the definition another version, or rename that VM",
    };
  if (vm === undefined) return undefined;
  if (vm === "hidden")
    return {
      what: `VM ${vmid} is for the bake of ${image}, and another VM has that VMID, which the token of bakes does not see`,
      where: `VM ${vmid}`,
      todo: "move that VM, or give bakes other VMIDs; if it is a bake of ours, put it back into the pool of templates",
    };
  if (vm === "in-the-making" || vm.lock !== undefined) return undefined;
  const mark = notedBake(vm.notes);
  const where = `VM ${vmid} on ${vm.host}`;
  if (mark?.vmid !== vmid || ![vmNameOf(order), imageOf(order)].includes(vm.name)) {
    if (mark?.vmid === vmid && mark.image !== image) return ofAnother(order, vm, mark);
    return {
      what: `VM ${vmid} is for the bake of ${image}, and "${vm.name}" has that VMID, which is no bake of ours`,
      where,
      todo: "nothing was done to it. Move it, or give bakes other VMIDs; a bake of ours that was renamed gets its name back",
    };
  }
  return mark.digest === digest || isOfOlderScripts(order, vm, mark) ? undefined : ofAnother(order, vm, mark);
}

/** A newer Evergreen bakes with other scripts: what an older one has baked of the same definition stays as it is. */
function isOfOlderScripts(order: BakeOrder, vm: ObservedBakeVm, { content }: BakeMark): boolean {
  return isPublished(order, vm) && content === contentDigest(order.definition);
}

function ofAnother(order: BakeOrder, { host, isTemplate }: ObservedBakeVm, mark: BakeMark): Problem {
  const where = `VM ${mark.vmid} on ${host}: sha256:${mark.digest}, and the definition has sha256:${order.digest}`;
  if (isTemplate)
    return {
      what: `${mark.image} was baked as VM ${mark.vmid}, and is another image than ${imageOf(order)} is by now`,
      where,
      todo: "give the definition another version: a template that nodes may have is never replaced",
    };
  return {
    what: `${mark.image} is being baked as VM ${mark.vmid}, and is another image than ${imageOf(order)} is by now`,
    where,
    todo: "wait until the other run has ended, or run it again as it was; if it is given up, stop and remove that VM",
  };
}

function noBase({ base, place, ...order }: BakeOrder): Problem {
  return {
    what: `the base image of ${imageOf(order)} is not where it should be`,
    where: `${base} on ${place.host}`,
    todo: "run pulumi up, which downloads it; if it was removed by hand, pulumi refresh finds that out first",
  };
}
