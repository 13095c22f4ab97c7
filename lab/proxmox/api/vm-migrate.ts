/** Endpoint that migrates a VM to another host. */
import { died, invalid } from "../answer.ts";
import { fork, perm, vmOf } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { isDrive } from "../config/options.ts";
import { parseDrive } from "../config/properties.ts";
import { checkLock } from "../config/update.ts";
import type { DataCentre } from "../data-centre.ts";
import { moveVm } from "../hosts.ts";
import type { Vm } from "../model.ts";
import { spec } from "../params.ts";
import { needQuorum } from "../quorum.ts";
import { findVolume } from "../storages.ts";
import { storageIdOf } from "../volume-names.ts";

/** Disks that the other host cannot access. */
function localDisks(dc: DataCentre, vm: Vm): string[] {
  return [...vm.config]
    .filter(([key]) => isDrive(key))
    .map(([, value]) => parseDrive(String(value)).file)
    .filter((volid) => findVolume(dc, volid) && !(dc.storages.get(storageIdOf(volid))?.shared ?? true));
}

function check(call: Call): Vm {
  const { dc, params } = call;
  const target = params.text("target");
  if (target === params.text("node")) throw invalid({ target: "target is local node." });
  needQuorum(dc);
  if (!dc.nodes.has(target)) throw died(`no such cluster node '${target}'`);
  const vm = vmOf(call);
  checkLock(vm);
  if (vm.power && !params.flag("online")) throw died("can't migrate running VM without --online");
  return vm;
}

function migrate(call: Call): string {
  const { dc, params } = call;
  const vm = check(call);
  const target = params.text("target");
  if (vm.ha !== undefined) {
    return fork(call, "hamigrate", String(vm.vmid), (task) => {
      task.say(`Requesting HA migration for VM ${vm.vmid} to node ${target}`);
      setTimeout(() => moveVm(vm, target), dc.timing.ha).unref();
    });
  }
  return fork(call, "qmigrate", String(vm.vmid), async (task) => {
    const [disk] = localDisks(dc, vm);
    const copies = params.flag("with-local-disks");
    if (disk !== undefined && vm.power && !copies)
      throw died(
        "Problem found while scanning volumes - can't live migrate attached local disks without with-local-disks option",
      );
    vm.config.set("lock", "migrate");
    await task.pass(disk === undefined ? dc.profile.start : dc.profile.fullClone);
    moveVm(vm, target);
    task.say(`migration finished successfully`);
  });
}

export const vmMigrateRoutes: Route[] = [
  {
    method: "POST",
    path: "nodes/{node}/qemu/{vmid}/migrate",
    allow: perm("/vms/{vmid}", "VM.Migrate"),
    params: {
      target: { type: "string", required: true },
      online: spec.flag,
      "with-local-disks": spec.flag,
      targetstorage: spec.text,
      bwlimit: spec.integer,
      force: spec.rootFlag,
      migration_type: { type: "string", rootOnly: true },
      migration_network: { type: "string", rootOnly: true },
    },
    run: migrate,
  },
];
