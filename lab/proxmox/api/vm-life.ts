/** Endpoints that list, destroy and resize VMs and convert them to templates. */
import { died } from "../answer.ts";
import { fork, perm, vmOf } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { ownVolumes } from "../config/drives.ts";
import { driveNames, isDrive } from "../config/options.ts";
import { isCdrom, parseDrive, parseSize, printDrive } from "../config/properties.ts";
import { digestOf } from "../config/store.ts";
import { checkLock } from "../config/update.ts";
import type { DataCentre } from "../data-centre.ts";
import type { Vm } from "../model.ts";
import { mayAny } from "../permissions.ts";
import { spec } from "../params.ts";
import { needWritable } from "../quorum.ts";
import { listRow } from "../status.ts";
import { clonesOf, findVolume, storageOf } from "../storages.ts";
import { keepsFiles, pathOf, storageIdOf } from "../volume-names.ts";
import type { Task } from "../tasks.ts";
import { freeVolume, makeBase, sizeOption } from "../volumes.ts";

/** @throws ApiError when the VM may not be destroyed now */
function checkDestroy(vm: Vm): void {
  if (vm.config.get("protection") === 1) throw died(`can't remove VM ${vm.vmid} - protection mode enabled`);
  if (vm.power) throw died(`VM ${vm.vmid} is running - destroy failed`);
}

function leftBehind(volid: string): string {
  const name = volid.slice(volid.indexOf(":") + 1);
  return `Could not remove disk '${volid}', check manually: base volume '${name}' is still in use by linked clones`;
}

async function destroy(call: Call, task: Task): Promise<void> {
  const { dc, params, token } = call;
  const vm = vmOf(call);
  checkLock(vm);
  checkDestroy(vm);
  needWritable(dc, vm.node, vm.vmid);
  const volumes = ownVolumes(dc, vm);
  // Only a template is checked in advance: of a VM that is no longer a template, the base image is left behind.
  for (const volid of vm.config.get("template") === 1 ? volumes : []) {
    if (clonesOf(dc, volid).length > 0) throw died(`base volume '${volid}' is still in use by linked cloned`);
  }
  await task.pass(dc.profile.destroy);
  for (const volid of volumes) {
    if (clonesOf(dc, volid).length === 0) await freeVolume(dc, volid, task);
    else task.say(leftBehind(volid));
  }
  for (const pool of dc.pools.values()) pool.vms.delete(vm.vmid);
  if (params.flag("purge")) task.say(`purging VM ${vm.vmid} from related configurations..`);
  dc.vms.delete(vm.vmid);
  dc.tell("destroyed", vm, token.id);
}

function beginDestroy(call: Call): string {
  const { dc, params } = call;
  const vm = vmOf(call);
  checkDestroy(vm);
  if (vm.ha !== undefined && !params.flag("purge"))
    throw died(`unable to remove VM ${vm.vmid} - used in HA resources and purge parameter not set.`);
  return fork(call, "qmdestroy", params.text("vmid"), (task) =>
    dc.configLock(vm.vmid).hold("exclusive", dc.timing.lockWait, () => destroy(call, task), task),
  );
}

/** Turns a VM's disks into base images. */
export async function convertToTemplate(dc: DataCentre, vm: Vm, task?: Task): Promise<void> {
  vm.config.set("template", 1);
  for (const [key, value] of [...vm.config]) {
    const drive = parseDrive(String(value));
    const volume = isDrive(key) && !isCdrom(drive) ? findVolume(dc, drive.file) : undefined;
    if (volume) vm.config.set(key, printDrive({ ...drive, file: (await makeBase(dc, volume, task)).volid }));
  }
}

function beginTemplate(call: Call): string {
  const { dc } = call;
  const check = () => {
    const vm = vmOf(call);
    checkLock(vm);
    if (vm.config.get("template") === 1) throw died("you can't convert a template to a template");
    if (vm.power) throw died("you can't convert a VM to template if VM is running");
    needWritable(dc, vm.node, vm.vmid);
    return vm;
  };
  const vm = check();
  return fork(call, "qmtemplate", String(vm.vmid), (task) =>
    dc.configLock(vm.vmid).hold("exclusive", dc.timing.lockWait, () => convertToTemplate(dc, check(), task), task),
  );
}

function resize(call: Call, task: Task): void {
  const { dc, params } = call;
  const vm = vmOf(call);
  const key = params.text("disk");
  const drive = parseDrive(String(vm.config.get(key) ?? ""));
  const digest = params.get("digest");
  if (digest !== undefined && digest !== digestOf(vm)) throw died("checksum mismatch (file change by other user?)");
  checkLock(vm);
  if (isCdrom(drive)) throw died("you can't resize a cdrom");
  const volume = findVolume(dc, drive.file);
  if (!volume) throw died(`disk '${key}' does not exist`);
  needWritable(dc, vm.node, vm.vmid);
  const asked = params.text("size");
  const bytes = parseSize(asked.replace("+", "")) ?? 0;
  const size = asked.startsWith("+") ? volume.size + bytes : bytes;
  if (size < volume.size) throw died("shrinking disks is not supported");
  const path = pathOf(storageOf(dc, storageIdOf(volume.volid)), volume.volid);
  if (size > volume.size && /base-\d+-disk-\d+(\.\w+)?$/.test(volume.volid)) {
    task.say(`qemu-img: Could not open '${path}': Could not open '${path}': Operation not permitted`);
    const how = dc.version === "9.2" ? "'--preallocation=metadata' " : "";
    throw died(`command '/usr/bin/qemu-img resize ${how}-f ${volume.format} ${path} ${size}' failed: exit code 1`);
  }
  if (size > volume.size && keepsFiles(storageOf(dc, storageIdOf(volume.volid)))) task.say("Image resized.");
  volume.size = size;
  drive.options.set("size", sizeOption(volume));
  vm.config.set(key, printDrive(drive));
}

function beginResize(call: Call): string {
  const { dc, params } = call;
  return fork(call, "resize", params.text("vmid"), (task) =>
    dc.configLock(params.int("vmid")).hold("exclusive", dc.timing.lockWait, () => resize(call, task), task),
  );
}

export const vmLifeRoutes: Route[] = [
  {
    method: "GET",
    path: "nodes/{node}/qemu",
    allow: () => undefined,
    params: { full: spec.flag },
    run: ({ dc, token, params }) =>
      [...dc.vms.values()]
        .filter((vm) => vm.node === params.get("node") && mayAny(dc, token, `/vms/${vm.vmid}`, ["VM.Audit"]))
        .map((vm) => listRow(dc, vm)),
  },
  {
    method: "DELETE",
    path: "nodes/{node}/qemu/{vmid}",
    allow: perm("/vms/{vmid}", "VM.Allocate"),
    params: { purge: spec.flag, "destroy-unreferenced-disks": spec.flag, skiplock: spec.rootFlag },
    run: beginDestroy,
  },
  {
    method: "POST",
    path: "nodes/{node}/qemu/{vmid}/template",
    allow: perm("/vms/{vmid}", "VM.Allocate"),
    params: { disk: spec.text },
    run: beginTemplate,
  },
  {
    method: "PUT",
    path: "nodes/{node}/qemu/{vmid}/resize",
    allow: perm("/vms/{vmid}", "VM.Config.Disk"),
    params: {
      disk: { type: "string", required: true, enum: driveNames },
      size: { type: "string", required: true, pattern: /^\+?\d+(\.\d+)?[KMGT]?$/ },
      digest: { type: "string", maxLength: 40 },
      skiplock: spec.rootFlag,
    },
    run: beginResize,
  },
];
