import { died } from "../answer.ts";
import { fork, perm, vmOf } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { checkLock } from "../config/update.ts";
import { spec } from "../params.ts";
import type { Specs } from "../params.ts";
import { shutdownVm, startAgain, startVm, stopVm } from "../power.ts";
import { currentStatus } from "../status.ts";

const timeout: Specs = { timeout: { type: "integer", minimum: 0 }, skiplock: spec.flag };

function start(call: Call): string {
  const { dc, params, token } = call;
  const [node, vmid] = [params.text("node"), params.int("vmid")];
  return fork(call, "qmstart", String(vmid), (task) => startVm(dc, node, vmid, task, token.id));
}

function stop(call: Call): string {
  const { dc, params, token } = call;
  const [node, vmid] = [params.text("node"), params.int("vmid")];
  const running = dc.tasks.running().filter((task) => task.type === "qmshutdown" && task.id === String(vmid));
  return fork(call, "qmstop", String(vmid), (task) => {
    if (params.flag("overrule-shutdown") && running.length > 0) {
      for (const each of running) each.cancel();
      task.say(`overruled qmshutdown tasks: ${running.map((each) => each.upid).join(", ")}`);
    }
    return stopVm(dc, node, vmid, task, token.id);
  });
}

function shutdown(call: Call): string {
  const { dc, params, token } = call;
  const [node, vmid] = [params.text("node"), params.int("vmid")];
  const options = { timeout: Number(params.get("timeout") ?? 60), force: params.flag("forceStop") };
  return fork(call, "qmshutdown", String(vmid), (task) => shutdownVm(dc, node, vmid, options, task, token.id));
}

function reboot(call: Call): string {
  const { dc, params, token } = call;
  const vm = vmOf(call);
  if (!vm.power) throw died(`VM ${vm.vmid} not running`);
  const options = { timeout: Number(params.get("timeout") ?? 600), force: false };
  return fork(call, "qmreboot", String(vm.vmid), async (task) => {
    await shutdownVm(dc, vm.node, vm.vmid, options, task, token.id);
    startAgain(dc, vm, token.id);
  });
}

/** Stops the processor of a VM, or lets it run on. */
function pause(paused: boolean): (call: Call) => string {
  return (call) => {
    const { dc, params } = call;
    return fork(call, paused ? "qmpause" : "qmresume", params.text("vmid"), (task) =>
      dc.configLock(params.int("vmid")).hold(
        "exclusive",
        dc.timing.lockWait,
        () => {
          const vm = vmOf(call);
          checkLock(vm);
          if (!vm.power) throw died(`VM ${vm.vmid} not running`);
          vm.power.paused = paused;
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
  powerRoute("stop", { ...timeout, keepActive: spec.flag, "overrule-shutdown": spec.flag }, stop),
  powerRoute("shutdown", { ...timeout, forceStop: spec.flag, keepActive: spec.flag }, shutdown),
  powerRoute("reboot", { timeout: { type: "integer", minimum: 0 } }, reboot),
  powerRoute("suspend", { skiplock: spec.flag, todisk: spec.flag }, pause(true)),
  powerRoute("resume", { skiplock: spec.flag, nocheck: spec.flag }, pause(false)),
];
