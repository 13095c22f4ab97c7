/** What happens to hosts, and to the VMs on them. */
import type { DataCentre } from "./data-centre.ts";
import { haUser } from "./ha.ts";
import type { PveNode, Vm } from "./model.ts";
import { startVm } from "./power.ts";

/** Moves a VM's configuration to another host, and its disks to where that host finds them. */
export function moveVm(vm: Vm, host: string): void {
  if (vm.config.get("lock") === "migrate") vm.config.delete("lock");
  vm.node = host;
  vm.seen = undefined;
}

/** Cuts the power of a host, and with it that of its VMs. */
export async function hostOff(dc: DataCentre, host: PveNode): Promise<void> {
  host.reachable = false;
  for (const task of dc.tasks.running()) if (task.node === host.name) task.cancel();
  for (const vm of dc.vms.values()) {
    if (vm.node !== host.name) continue;
    vm.seen = undefined;
    const { power } = vm;
    vm.power = undefined;
    await power?.guest.powerOff();
    if (power) dc.tell("stopped", vm, "");
  }
}

/** Boots a host, which starts the VMs that have `onboot` set. */
export function hostOn(dc: DataCentre, host: PveNode): void {
  host.reachable = true;
  for (const { vmid, node, config } of dc.vms.values()) {
    if (node !== host.name || config.get("onboot") !== 1 || config.get("template") === 1) continue;
    dc.tasks.start(node, "qmstart", String(vmid), haUser, (task) => startVm(dc, node, vmid, task, ""));
  }
}
