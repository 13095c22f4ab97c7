/** Endpoints of a VM's configuration, its pending changes and its cloud-init drive. */
import { died } from "../answer.ts";
import { finished, fork, perm, permAny, vmOf } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { cloudInitDrive, cloudInitRows, pendingRows, shownConfig } from "../config/store.ts";
import { checkLock, settingsOf, updateConfig } from "../config/update.ts";
import { parseProperties } from "../config/properties.ts";
import { Params, spec } from "../params.ts";
import type { Specs } from "../params.ts";
import type { DataCentre } from "../data-centre.ts";
import type { Vm } from "../model.ts";
import { storageOf } from "../storages.ts";
import { storageIdOf } from "../volume-names.ts";

const anyConfig = ["Disk", "CDROM", "CPU", "Memory", "Network", "HWType", "Options", "Cloudinit"];

/** @throws ApiError when a snippet that cloud-init is to use is missing */
export function checkSnippets(dc: DataCentre, vm: Vm): void {
  for (const volid of parseProperties(String(vm.config.get("cicustom") ?? "")).values()) {
    storageOf(dc, storageIdOf(volid));
    throw died(`volume '${volid}' does not exist`);
  }
}

/** No VM of the lab has a snapshot. */
function noSnapshot(name: string | undefined): void {
  if (name !== undefined) throw died(`snapshot '${name}' does not exist`);
}

async function regenerate(call: Call): Promise<null> {
  const { dc, params } = call;
  vmOf(call);
  await dc.configLock(params.int("vmid")).hold("exclusive", dc.timing.lockWait, () => {
    const vm = vmOf(call);
    checkLock(vm);
    if (cloudInitDrive(vm.config) === undefined) return;
    checkSnippets(dc, vm);
    vm.drawn.clear();
  });
  return null;
}

/** The same change as a task; a request may wait for its end. */
async function inBackground(call: Call): Promise<string | null> {
  const { params } = call;
  const { vmid } = vmOf(call);
  const said = [...settingsOf(params)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `-${key} ${value}`);
  const upid = fork(call, "qmconfig", String(vmid), async (task) => {
    task.say(`update VM ${vmid}: ${said.join(" ")}`);
    await updateConfig(call, () => vmOf(call), task);
  });
  return params.has("background_delay") ? await finished(call, upid) : upid;
}

/** Removes drives from a VM: a change of its configuration through another endpoint. */
async function unlink(call: Call): Promise<null> {
  const params = new Params(call.params);
  params.delete("idlist");
  params.set("delete", call.params.text("idlist"));
  await updateConfig({ ...call, params }, () => vmOf(call));
  return null;
}

const anyConfigRight = permAny("/vms/{vmid}", ...anyConfig.map((name) => `VM.Config.${name}`));
const steering: Specs = {
  delete: spec.text,
  digest: { type: "string", maxLength: 64 },
  revert: spec.text,
  force: spec.flag,
  skiplock: spec.rootFlag,
};

export const vmConfigRoutes: Route[] = [
  {
    method: "POST",
    path: "nodes/{node}/qemu/{vmid}/config",
    allow: anyConfigRight,
    params: { ...steering, background_delay: { type: "integer", minimum: 1, maximum: 30 } },
    vmOptions: true,
    run: inBackground,
  },
  {
    method: "PUT",
    path: "nodes/{node}/qemu/{vmid}/unlink",
    allow: perm("/vms/{vmid}", "VM.Config.Disk"),
    params: { idlist: { type: "string", required: true }, force: spec.flag },
    run: unlink,
  },
  {
    method: "GET",
    path: "nodes/{node}/qemu/{vmid}/config",
    allow: perm("/vms/{vmid}", "VM.Audit"),
    params: { current: spec.flag, snapshot: spec.text },
    run: (call) => {
      const vm = vmOf(call);
      noSnapshot(call.params.get("snapshot"));
      return shownConfig(vm, call.params.flag("current"));
    },
  },
  {
    method: "GET",
    path: "nodes/{node}/qemu/{vmid}/pending",
    allow: perm("/vms/{vmid}", "VM.Audit"),
    params: {},
    run: (call) => pendingRows(vmOf(call)),
  },
  {
    method: "PUT",
    path: "nodes/{node}/qemu/{vmid}/config",
    allow: anyConfigRight,
    params: steering,
    vmOptions: true,
    run: async (call) => {
      await updateConfig(call, () => vmOf(call));
      return null;
    },
  },
  {
    method: "GET",
    path: "nodes/{node}/qemu/{vmid}/cloudinit",
    allow: perm("/vms/{vmid}", "VM.Audit"),
    params: {},
    run: (call) => cloudInitRows(vmOf(call)),
  },
  {
    method: "PUT",
    path: "nodes/{node}/qemu/{vmid}/cloudinit",
    allow: perm("/vms/{vmid}", "VM.Config.Cloudinit"),
    params: {},
    run: regenerate,
  },
];
