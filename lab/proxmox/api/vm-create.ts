/** Endpoint that creates a VM. */
import { randomUUID } from "node:crypto";
import { died, forbidden } from "../answer.ts";
import { fork } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { defaultBoot } from "../config/boot.ts";
import { makeDrive, ownVolumes } from "../config/drives.ts";
import { isDrive } from "../config/options.ts";
import { newSmbios } from "../config/properties.ts";
import { checkRights, checkValues, settingsOf, stored } from "../config/update.ts";
import type { DataCentre } from "../data-centre.ts";
import type { Token, Vm } from "../model.ts";
import { spec, vmidSpec } from "../params.ts";
import { mayAny } from "../permissions.ts";
import { needQuorum } from "../quorum.ts";
import type { Task } from "../tasks.ts";
import { freeVolume } from "../volumes.ts";
import { startVm } from "../power.ts";

const steering = new Set(["node", "vmid", "pool", "storage", "force", "unique", "start", "bwlimit", "archive"]);

/** Requires the privilege to allocate the new VM: on its VMID, or on the pool that it is added to. */
export function needAllocate(dc: DataCentre, token: Token, vmid: string | undefined, pool: string | undefined): void {
  if (mayAny(dc, token, `/vms/${vmid ?? ""}`, ["VM.Allocate"])) return;
  if (pool !== undefined && mayAny(dc, token, `/pool/${pool}`, ["VM.Allocate"])) return;
  throw forbidden();
}

/** @throws ApiError 403, as Proxmox VE does, when the pool does not exist */
export function needPool(dc: DataCentre, pool: string | undefined): void {
  if (pool !== undefined && !dc.pools.has(pool)) throw forbidden(`pool '${pool}' does not exist`);
}

async function build(call: Call, vm: Vm, settings: ReadonlyMap<string, string>, task: Task): Promise<void> {
  for (const [key, value] of settings) if (!isDrive(key)) vm.config.set(key, stored(key, value));
  for (const [key, value] of [...settings].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (isDrive(key)) vm.config.set(key, await makeDrive(call.dc, vm, key, value, task));
  }
  if (!vm.config.has("smbios1")) vm.config.set("smbios1", newSmbios());
  if (!vm.config.has("vmgenid")) vm.config.set("vmgenid", randomUUID());
  if (!vm.config.has("boot")) vm.config.set("boot", defaultBoot(vm.config));
  vm.config.set("meta", `creation-qemu=7.2.22,ctime=${Math.floor(Date.now() / 1000)}`);
}

async function create(call: Call, task: Task): Promise<void> {
  const { dc, params, token } = call;
  const vmid = params.int("vmid");
  await dc.configLock(vmid).hold("exclusive", dc.timing.cloneLockWait, async () => {
    const failed = (text: string) => died(`unable to create VM ${vmid} - ${text}`);
    if (dc.vms.has(vmid)) throw failed(`VM ${vmid} already exists on node '${params.text("node")}'`);
    const vm = dc.addVm(params.text("node"), vmid, [["lock", "create"]]);
    try {
      await build(call, vm, settingsOf(params, steering), task);
    } catch (error) {
      for (const volid of ownVolumes(dc, vm)) await freeVolume(dc, volid).catch(() => undefined);
      dc.vms.delete(vmid);
      throw failed(error instanceof Error ? error.message : String(error));
    }
    vm.config.delete("lock");
    const pool = params.get("pool");
    if (pool !== undefined) dc.pools.get(pool)?.vms.add(vmid);
    dc.tell("created", vm, token.id);
  });
  if (params.flag("start")) await startVm(dc, params.text("node"), vmid, task, token.id);
}

function begin(call: Call): string {
  const { dc, token, params } = call;
  const vmid = params.int("vmid");
  needPool(dc, params.get("pool"));
  needQuorum(dc);
  const settings = settingsOf(params, steering);
  checkValues(settings);
  checkRights(dc, token, vmid, settings, params.get("pool"));
  const taken = dc.vms.get(vmid);
  if (taken) throw died(`unable to create VM ${vmid} - VM ${vmid} already exists on node '${taken.node}'`);
  return fork(call, "qmcreate", String(vmid), (task) => create(call, task));
}

export const vmCreateRoutes: Route[] = [
  {
    method: "POST",
    path: "nodes/{node}/qemu",
    allow: (call) => {
      needPool(call.dc, call.params.get("pool"));
      needAllocate(call.dc, call.token, call.params.get("vmid"), call.params.get("pool"));
    },
    params: {
      vmid: { ...vmidSpec, required: true },
      pool: spec.text,
      storage: spec.text,
      force: spec.flag,
      unique: spec.flag,
      start: spec.flag,
      bwlimit: spec.integer,
      archive: spec.text,
    },
    vmOptions: true,
    run: begin,
  },
];
