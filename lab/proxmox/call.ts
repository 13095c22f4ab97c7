import { died } from "./answer.ts";
import type { DataCentre } from "./data-centre.ts";
import type { Token, Vm } from "./model.ts";
import type { Params, Specs } from "./params.ts";
import { needAll, needAny } from "./permissions.ts";
import type { Task } from "./tasks.ts";

/** A request on its way through an endpoint. */
export interface Call {
  dc: DataCentre;
  token: Token;
  params: Params;
  /** Fields of the answer besides `data`. */
  extra: Record<string, unknown>;
  /** A file of a multipart body. */
  upload?: { filename: string; content: Buffer };
}

export interface Route {
  method: "GET" | "POST" | "PUT" | "DELETE";
  /** `nodes/{node}/qemu/{vmid}/config` */
  path: string;
  /** Throws when the token lacks a privilege; runs before the parameters are checked, as in Proxmox VE. */
  allow: (call: Call) => void;
  params: Specs;
  /** Accepts the options of a VM besides `params`. */
  vmOptions?: boolean;
  run: (call: Call) => unknown;
}

/** Allows every valid token. */
export function anyone(): void {
  // Proxmox VE calls this `user => 'all'`.
}

function fill(call: Call, path: string): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => call.params.get(name) ?? "");
}

/** Needs all of these privileges on a path with `{name}` placeholders. */
export function perm(path: string, ...privileges: string[]): (call: Call) => void {
  return (call) => needAll(call.dc, call.token, fill(call, path), privileges);
}

/** Needs one of these privileges. */
export function permAny(path: string, ...privileges: string[]): (call: Call) => void {
  return (call) => needAny(call.dc, call.token, fill(call, path), privileges);
}

/** @throws ApiError when the VM is not on this node */
export function vmOf(call: Call): Vm {
  return loadVm(call.dc, call.params.text("node"), call.params.int("vmid"));
}

/** @throws ApiError with the text of a missing configuration file */
export function loadVm(dc: DataCentre, node: string, vmid: number): Vm {
  const vm = dc.vms.get(vmid);
  if (vm?.node !== node) throw died(`Configuration file 'nodes/${node}/qemu-server/${vmid}.conf' does not exist`);
  return vm;
}

/** Starts a task on the request's node. @returns its UPID */
export function fork(call: Call, type: string, id: string, work: (task: Task) => Promise<void> | void): string {
  return call.dc.tasks.start(call.params.text("node"), type, id, call.token.id, work).upid;
}

/** Waits for the end of a task, whose failure is the request's failure. @returns null, the answer of such a request */
export async function finished({ dc }: Call, upid: string): Promise<null> {
  const task = dc.tasks.all.get(upid);
  await task?.done;
  if (task?.exitstatus !== undefined && task.exitstatus !== "OK") throw died(task.exitstatus);
  return null;
}
