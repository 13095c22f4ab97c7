/** What happens to VMs and hosts from outside: by other administrators, by backups, by HA, by a power cut. */
import { UserError } from "../src/runtime/errors.ts";
import type { OutsideOrder } from "./control.ts";
import type { DataCentre } from "./proxmox/data-centre.ts";
import { follow } from "./proxmox/ha.ts";
import { hostOff, hostOn, moveVm } from "./proxmox/hosts.ts";
import type { PveNode, Vm } from "./proxmox/model.ts";
import { nobody, prelaunch } from "./proxmox/power.ts";

/** Whether an order is an outside order. */
export function isOutside(order: { kind: string }): order is OutsideOrder {
  return kinds.has(order.kind);
}

const kinds = new Set<string>([
  "vm-state",
  "lock-vm",
  "migrate-vm",
  "ha-vm",
  "pool-vm",
  "host-off",
  "host-on",
  "no-quorum",
] satisfies OutsideOrder["kind"][]);

/** What an order did, and how to undo it when the faults are cleared. */
export interface Happened {
  said: string;
  undo?: () => void;
}

export async function happen(
  dc: DataCentre,
  order: OutsideOrder,
  find: (id: number | string) => Vm,
): Promise<Happened> {
  switch (order.kind) {
    case "host-off": {
      const host = findHost(dc, order.host);
      await hostOff(dc, host);
      return { said: `host ${host.name} is off`, undo: () => hostOn(dc, host) };
    }
    case "host-on":
      hostOn(dc, findHost(dc, order.host));
      return { said: `host ${order.host} is on` };
    case "no-quorum":
      dc.quorate = false;
      return { said: "the Proxmox cluster has no quorum", undo: () => (dc.quorate = true) };
    default:
      return ofVm(dc, order, find(order.vm));
  }
}

function ofVm(dc: DataCentre, order: Extract<OutsideOrder, { vm: number | string }>, vm: Vm): Happened {
  const name = `VM ${vm.vmid} (${String(vm.config.get("name"))})`;
  switch (order.kind) {
    case "vm-state":
      setState(dc, vm, order.state);
      dc.see();
      return { said: `${name} is in the state ${order.state}`, undo: () => setState(dc, vm, "running") };
    case "lock-vm":
      setLock(vm, order.lock);
      return { said: `${name} is locked by ${order.lock ?? "nothing"}`, undo: () => setLock(vm, undefined) };
    case "migrate-vm":
      moveVm(vm, findHost(dc, order.host).name);
      dc.see();
      if (vm.ha === "started" && !vm.power) void follow(dc, vm, 0);
      return { said: `${name} is on ${order.host} now` };
    case "ha-vm":
      vm.ha = !order.managed ? undefined : vm.power ? "started" : "stopped";
      return { said: `${name} is ${order.managed ? "" : "not "}managed by HA` };
    case "pool-vm":
      return { said: `${name} is in ${intoPool(dc, vm.vmid, order.pool)}` };
  }
}

function intoPool(dc: DataCentre, vmid: number, id: string | undefined): string {
  const pool = id === undefined ? undefined : dc.pools.get(id);
  if (id !== undefined && !pool) throw problem(`pool ${id}`, [...dc.pools.keys()]);
  for (const { vms } of dc.pools.values()) vms.delete(vmid);
  pool?.vms.add(vmid);
  return id === undefined ? "no pool" : `the pool ${id}`;
}

function setLock(vm: Vm, lock: string | undefined): void {
  if (lock === undefined) vm.config.delete("lock");
  else vm.config.set("lock", lock);
}

/** Sets QEMU's state. A process that was started only for a backup ends with the backup. */
function setState(dc: DataCentre, vm: Vm, state: OutsideState): void {
  if (!vm.power && state === "prelaunch") vm.power = prelaunch(dc);
  else if (vm.power?.guest === nobody && state === "running") vm.power = undefined;
  else if (vm.power) vm.power.qemu = state;
  else if (state !== "running") throw problem(`process of VM ${vm.vmid}: it is off`, []);
}

type OutsideState = Extract<OutsideOrder, { kind: "vm-state" }>["state"];

function findHost(dc: DataCentre, name: string): PveNode {
  const host = dc.nodes.get(name);
  if (!host) throw problem(`host ${name}`, [...dc.nodes.keys()]);
  return host;
}

/** The error for an order that names something that does not exist. */
export const problem = (what: string, known: string[]) =>
  new UserError({
    what: `there is no ${what}`,
    where: "the lab's data centre",
    todo: known.length > 0 ? `name one of: ${known.join(", ")}` : "see `evergreen lab status`",
  });
