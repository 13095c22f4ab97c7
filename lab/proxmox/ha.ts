import { setTimeout as delay } from "node:timers/promises";
import type { DataCentre } from "./data-centre.ts";
import type { Vm } from "./model.ts";
import { shutdownVm, startVm, stopVm } from "./power.ts";
import type { Task } from "./tasks.ts";

/** Who HA's own tasks belong to. */
export const haUser = "root@pam";

/** The work of a task that asks HA: it ends at once, and seconds later HA acts by a task of its own. */
export function askHa(dc: DataCentre, vm: Vm, wanted: "started" | "stopped", timeout: number) {
  return (task: Task): void => {
    task.say(`Requesting HA ${wanted === "started" ? "start" : "stop"} for VM ${vm.vmid}`);
    vm.ha = wanted;
    void follow(dc, vm, timeout);
  };
}

/** HA brings a VM into the state that it shall be in. */
export async function follow(dc: DataCentre, vm: Vm, timeout: number): Promise<void> {
  await delay(dc.timing.ha, undefined, { ref: false });
  const { vmid, node } = vm;
  if (dc.closed || dc.vms.get(vmid) !== vm || !dc.isUp(node)) return;
  if (vm.ha === "started" && !vm.power) {
    dc.tasks.start(node, "qmstart", String(vmid), haUser, (task) => startVm(dc, node, vmid, task, haUser));
  } else if (vm.ha === "stopped" && vm.power) {
    if (timeout === 0) {
      dc.tasks.start(node, "qmstop", String(vmid), haUser, (task) => stopVm(dc, node, vmid, task, haUser));
      return;
    }
    const options = { timeout, force: true };
    dc.tasks.start(node, "qmshutdown", String(vmid), haUser, (task) =>
      shutdownVm(dc, node, vmid, options, task, haUser),
    );
  }
}
