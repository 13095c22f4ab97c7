import { died } from "../answer.ts";
import { perm, permAny, vmOf } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { cloudInitDrive, cloudInitRows, pendingRows, shownConfig } from "../config/store.ts";
import { applyCloudInit, checkLock, updateConfig } from "../config/update.ts";
import { parseProperties } from "../config/properties.ts";
import { spec } from "../params.ts";
import type { DataCentre } from "../data-centre.ts";
import type { Vm } from "../model.ts";
import { storageOf } from "../storages.ts";
import { storageIdOf } from "../volume-names.ts";

const anyConfig = ["Disk", "CDROM", "CPU", "Memory", "Network", "HWType", "Options", "Cloudinit"];

/** @throws ApiError when a snippet that cloud-init shall use is missing */
export function checkSnippets(dc: DataCentre, vm: Vm): void {
  for (const volid of parseProperties(String(vm.config.get("cicustom") ?? "")).values()) {
    storageOf(dc, storageIdOf(volid));
    throw died(`volume '${volid}' does not exist`);
  }
}

async function regenerate(call: Call): Promise<null> {
  const { dc, params } = call;
  vmOf(call);
  await dc.configLock(params.int("vmid")).hold("exclusive", dc.timing.lockWait, () => {
    const vm = vmOf(call);
    checkLock(vm);
    applyCloudInit(vm);
    if (cloudInitDrive(vm.config) !== undefined) checkSnippets(dc, vm);
  });
  return null;
}

export const vmConfigRoutes: Route[] = [
  {
    method: "GET",
    path: "nodes/{node}/qemu/{vmid}/config",
    allow: perm("/vms/{vmid}", "VM.Audit"),
    params: { current: spec.flag, snapshot: spec.text },
    run: (call) => shownConfig(vmOf(call), call.params.flag("current")),
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
    allow: permAny("/vms/{vmid}", ...anyConfig.map((name) => `VM.Config.${name}`)),
    params: {
      delete: spec.text,
      digest: { type: "string", maxLength: 64 },
      revert: spec.text,
      force: spec.flag,
      skiplock: spec.rootFlag,
    },
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
