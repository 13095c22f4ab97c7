/** The high availability manager, as far as it starts and stops VMs. */
import { setTimeout as delay } from "node:timers/promises";
import type { DataCentre } from "./data-centre.ts";
import type { Vm } from "./model.ts";
import { shutdownVm, startVm, stopVm } from "./power.ts";
import type { Task } from "./tasks.ts";

/** The user of HA's own tasks. */
export const haUser = "root@pam";

/** The work of a task that sends a request to HA: it ends at once, and seconds later HA acts in a task of its own. */
export function askHa(dc: DataCentre, vm: Vm, wanted: "started" | "stopped", timeout: number) {
  return (task: Task): void => {
    task.say(`Requesting HA ${wanted === "started" ? "start" : "stop"} for VM ${vm.vmid}`);
    vm.ha = wanted;
    void follow(dc, vm, timeout);
  };
}

/** HA brings a VM into its requested state. */
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
