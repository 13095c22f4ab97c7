/** Endpoints of a VM's power: status, start, stop, shutdown, reboot, suspend, resume. */
import { died, invalid } from "../answer.ts";
import { fork, perm, vmOf } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { checkLock } from "../config/update.ts";
import { askHa } from "../ha.ts";
import type { Vm } from "../model.ts";
import { spec } from "../params.ts";
import type { Specs } from "../params.ts";
import { mayAny } from "../permissions.ts";
import { processOf, shutdownVm, startAgain, startVm, stopVm } from "../power.ts";
import { needQuorum } from "../quorum.ts";
import { currentStatus } from "../status.ts";
import type { Task } from "../tasks.ts";

const timeout: Specs = { timeout: { type: "integer", minimum: 0 }, skiplock: spec.rootFlag };

function places({ params }: Call): { node: string; vmid: number } {
  return { node: params.text("node"), vmid: params.int("vmid") };
}

/** The VM when it is managed by HA, which then gets the request. */
function haManaged(call: Call): Vm | undefined {
  const { node, vmid } = places(call);
  const vm = call.dc.vms.get(vmid);
  return vm?.node === node && vm.ha !== undefined ? vm : undefined;
}

function start(call: Call): string {
  const { dc, token } = call;
  const { node, vmid } = places(call);
  needQuorum(dc);
  const vm = haManaged(call);
  if (vm) return fork(call, "hastart", String(vmid), askHa(dc, vm, "started", 0));
  return fork(call, "qmstart", String(vmid), (task) => startVm(dc, node, vmid, task, token.id));
}

/** Cancels shutdowns that wait for the guest: a token's own, and those of others with a privilege on the host. */
function overrule({ dc, token, params }: Call, task: Task): void {
  const { node, vmid } = { node: params.text("node"), vmid: params.text("vmid") };
  const all = mayAny(dc, token, `/nodes/${node}`, ["Sys.Modify"]);
  const overruled = dc.tasks
    .running()
    .filter(({ type, id, user }) => type === "qmshutdown" && id === vmid && (all || user === token.id));
  for (const each of overruled) each.cancel();
  if (overruled.length > 0) task.say(`overruled qmshutdown tasks: ${overruled.map(({ upid }) => upid).join(", ")}`);
}

function stop(call: Call): string {
  const { dc, params, token } = call;
  const { node, vmid } = places(call);
  const vm = haManaged(call);
  if (vm && params.flag("overrule-shutdown"))
    throw invalid({ "overrule-shutdown": "Not applicable for HA resources." });
  if (vm) return fork(call, "hastop", String(vmid), askHa(dc, vm, "stopped", 0));
  return fork(call, "qmstop", String(vmid), (task) => {
    if (params.flag("overrule-shutdown")) overrule(call, task);
    return stopVm(dc, node, vmid, task, token.id);
  });
}

function shutdown(call: Call): string {
  const { dc, params, token } = call;
  const { node, vmid } = places(call);
  const options = { timeout: Number(params.get("timeout") ?? 60), force: params.flag("forceStop") };
  const qemu = dc.vms.get(vmid)?.power?.qemu;
  const isPaused = qemu === "paused" || qemu === "prelaunch";
  // A paused guest would get the request only when it is resumed, whenever that is.
  if (isPaused && !options.force) throw died("VM is paused - cannot shutdown");
  const vm = haManaged(call);
  if (vm) return fork(call, "hastop", String(vmid), askHa(dc, vm, "stopped", options.timeout));
  return fork(call, "qmshutdown", String(vmid), (task) =>
    isPaused ? stopVm(dc, node, vmid, task, token.id) : shutdownVm(dc, node, vmid, options, task, token.id),
  );
}

/** @throws ApiError at once, before a task exists */
function runningVm(call: Call): Vm {
  const { node, vmid } = places(call);
  const vm = processOf(call.dc, node, vmid);
  if (!vm.power) throw died(`VM ${vmid} not running`);
  return vm;
}

function reboot(call: Call): string {
  const { dc, params, token } = call;
  const vm = runningVm(call);
  const options = { timeout: Number(params.get("timeout") ?? 600), force: false };
  return fork(call, "qmreboot", String(vm.vmid), async (task) => {
    await shutdownVm(dc, vm.node, vm.vmid, options, task, token.id);
    startAgain(dc, vm, token.id);
  });
}

/** Pauses or resumes the processor of a VM. */
function pause(qemu: "paused" | "running"): (call: Call) => string {
  return (call) => {
    const { dc, params } = call;
    runningVm(call);
    return fork(call, qemu === "paused" ? "qmpause" : "qmresume", params.text("vmid"), (task) =>
      dc.configLock(params.int("vmid")).hold(
        "exclusive",
        dc.timing.lockWait,
        () => {
          const vm = runningVm(call);
          checkLock(vm);
          if (vm.power) vm.power.qemu = qemu;
        },
        task,
      ),
    );
  };
}

function powerRoute(verb: string, params: Specs, run: (call: Call) => string): Route {
  return {
    method: "POST",
    path: `nodes/{node}/qemu/{vmid}/status/${verb}`,
    allow: perm("/vms/{vmid}", "VM.PowerMgmt"),
    params,
    run,
  };
}

export const vmPowerRoutes: Route[] = [
  {
    method: "GET",
    path: "nodes/{node}/qemu/{vmid}/status/current",
    allow: perm("/vms/{vmid}", "VM.Audit"),
    params: {},
    run: (call) => currentStatus(call.dc, vmOf(call)),
  },
  powerRoute("start", { ...timeout, "force-cpu": spec.text, machine: spec.text, stateuri: spec.text }, start),
  powerRoute("stop", { ...timeout, keepActive: spec.rootFlag, "overrule-shutdown": spec.flag }, stop),
  powerRoute("shutdown", { ...timeout, forceStop: spec.flag, keepActive: spec.rootFlag }, shutdown),
  powerRoute("reboot", { timeout: { type: "integer", minimum: 0 } }, reboot),
  powerRoute("suspend", { skiplock: spec.rootFlag, todisk: spec.flag }, pause("paused")),
  powerRoute("resume", { skiplock: spec.rootFlag, nocheck: spec.rootFlag }, pause("running")),
];
