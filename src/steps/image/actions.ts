/** What each step of a bake does. Each one can be killed at any request and done again. */
import { putCd, removeFile } from "../../clients/proxmox/files.ts";
import { start, turnOff, type ProvedVm } from "../../clients/proxmox/power.ts";
import { awaitTask } from "../../clients/proxmox/task.ts";
import { vmPath } from "../../clients/proxmox/vms.ts";
import {
  BAKE_DRIVES,
  BAKE_TAGS,
  bakeNote,
  cdNameOf,
  cdOf,
  DISK_OPTIONS,
  hardwareOptionsOf,
  imageOf,
  markOf,
  templateTagsOf,
  vmNameOf,
} from "../../domain/images/bake.ts";
import type { BakeStep } from "../../domain/images/bake-step.ts";
import { commandOf } from "../../domain/images/stages.ts";
import { startProgram } from "../../clients/proxmox/programs.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import { changeVm, markPhase, notesOf, proveBakeVm, type Baking } from "./baking.ts";
import { awaitUnlocked, destroyBakeVm } from "./discard.ts";
import { awaitStages, checkSealed, hasBegun, requireStillSealed, type GuestVm } from "./guest.ts";

/** Seconds for what Proxmox does with whole disks: the copy of the base, the conversion, a lock of a backup. */
const DISK_SECONDS = 3600;
/** Seconds for a change that takes Proxmox moments. */
const CHANGE_SECONDS = 300;
/** Seconds that a sealed guest gets to shut down. */
const SHUTDOWN_SECONDS = 300;
/** Seconds until stages that another process has started have begun. */
const BEGIN_SECONDS = 60;

type Work = Exclude<BakeStep, { do: "done" } | { do: "refuse" }>;

/** Carries out a step. @throws BakeFailed when nothing can be made of the VM */
export function carryOut(baking: Baking, step: Work): Promise<void> {
  switch (step.do) {
    case "await-lock":
      say(`${imageOf(baking.order)}: Proxmox has locked VM ${baking.order.vmid} (${step.lock}); it is waited for`);
      return awaitUnlocked(baking);
    case "remove-cd":
      return removeFile(baking.pve, imagesAt(baking), step.volume, baking.stop);
    case "discard":
      say(`${imageOf(baking.order)}: ${step.why}; it is baked anew`);
      return destroyBakeVm(baking);
    case "upload":
      return putSeed(baking);
    case "create":
      return createVm(baking);
    case "grow":
      return growDisk(baking);
    case "begin":
      return beginBake(baking);
    case "await-bake":
      return awaitBake(baking);
    case "seal":
      return sealGuest(baking);
    case "shut-down":
      return shutdownSealed(baking);
    case "eject":
      return takeCdOut(baking);
    case "convert":
      return convertVm(baking);
    case "publish":
      return publishTemplate(baking);
  }
}

const imagesAt = ({ order: { place } }: Baking) => ({ host: place.host, storage: place.imageStorage });

async function proveGuest(baking: Baking): Promise<GuestVm> {
  const { host } = await proveBakeVm(baking);
  return { host, vmid: baking.order.vmid };
}

async function prove(baking: Baking): Promise<ProvedVm> {
  const { host, name, uuid } = await proveBakeVm(baking);
  return { host, name, uuid, vmid: baking.order.vmid };
}

async function putSeed(baking: Baking): Promise<void> {
  const { pve, order, cd, stop } = baking;
  await putCd(pve, imagesAt(baking), { name: cdNameOf(order), bytes: cd }, stop);
}

async function createVm({ pve, order, stop }: Baking): Promise<void> {
  const { vmid, place, base } = order;
  const image = imageOf(order);
  say(`${image}: VM ${vmid} is made on ${place.host}, of ${base}`);
  const upid = await pve.post(`/nodes/${place.host}/qemu`, {
    vmid,
    name: vmNameOf(order),
    pool: place.pool,
    description: bakeNote(markOf(order, "made")),
    tags: BAKE_TAGS.join(";"),
    ...hardwareOptionsOf(order),
    [BAKE_DRIVES.disk]: `${place.storage}:0,import-from=${base},${DISK_OPTIONS}`,
    [BAKE_DRIVES.cd]: `${cdOf(order)},media=cdrom`,
  });
  await awaitTask(pve, upid, new Deadline(`the copy of the base image for ${image}`, DISK_SECONDS, stop));
}

async function growDisk(baking: Baking): Promise<void> {
  const { pve, order, stop } = baking;
  const vm = await prove(baking);
  const change = { disk: BAKE_DRIVES.disk, size: `${order.definition.diskGiB}G` };
  const upid = await pve.put(`${vmPath(vm)}/resize`, change);
  await awaitTask(pve, upid, new Deadline(`the disk of ${vm.name} to grow`, CHANGE_SECONDS, stop));
}

/** The start comes before its mark: a VM that is marked and off has run. */
async function beginBake(baking: Baking): Promise<void> {
  const vm = await proveBakeVm(baking);
  if (!vm.isRunning) await start(baking.pve, await prove(baking), baking.stop);
  await markPhase(baking, "begun");
}

async function awaitBake(baking: Baking): Promise<void> {
  const vm = await proveGuest(baking);
  await awaitStages(baking, vm, "bake");
  await beginSeal(baking, vm);
}

/** The mark comes before the start, and both right after the bake: so a guest that is marked seals, but for a kill between. */
async function beginSeal(baking: Baking, vm: GuestVm): Promise<void> {
  await markPhase(baking, "sealing");
  await startProgram(baking.pve, vm, commandOf("seal"));
}

async function sealGuest(baking: Baking): Promise<void> {
  const vm = await proveGuest(baking);
  if (!(await hasBegunSoon(baking, vm))) await startProgram(baking.pve, vm, commandOf("seal"));
  await awaitStages(baking, vm, "seal");
  await checkSealed(baking, vm);
  await markPhase(baking, "sealed");
}

/** Whether the guest seals already. Two seals at once would be in each other's way. */
async function hasBegunSoon(baking: Baking, vm: GuestVm): Promise<boolean> {
  const deadline = new Deadline(`the seal of ${imageOf(baking.order)} to begin`, BEGIN_SECONDS, baking.stop);
  const begun = deadline.poll(2000, async () => ((await hasBegun(baking, vm, "seal")) ? true : undefined));
  return await begun.catch((error: unknown) => {
    if (error instanceof DeadlineError) return false;
    throw error;
  });
}

async function shutdownSealed(baking: Baking): Promise<void> {
  const vm = await prove(baking);
  await requireStillSealed(baking, vm);
  await turnOff(baking.pve, vm, SHUTDOWN_SECONDS, baking.stop);
}

/** The drive: its file goes after it. */
async function takeCdOut(baking: Baking): Promise<void> {
  await changeVm(baking, await proveBakeVm(baking), { delete: BAKE_DRIVES.cd });
}

async function convertVm(baking: Baking): Promise<void> {
  const { pve, order, stop } = baking;
  const vm = await prove(baking);
  const upid = await pve.post(`${vmPath(vm)}/template`);
  await awaitTask(pve, upid, new Deadline(`the conversion of ${imageOf(order)} to a template`, DISK_SECONDS, stop));
}

/** The last change, in one request: from here on a rollout finds the template. */
async function publishTemplate(baking: Baking): Promise<void> {
  const vm = await proveBakeVm(baking);
  const { order } = baking;
  const tags = [...vm.tags.filter((tag) => !BAKE_TAGS.includes(tag)), ...templateTagsOf(order)];
  await changeVm(baking, vm, {
    name: imageOf(order),
    tags: tags.join(";"),
    description: notesOf(baking, vm, "baked"),
  });
}
