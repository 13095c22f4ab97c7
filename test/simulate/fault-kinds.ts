import type { Chance } from "./chance.ts";
import type { Fault } from "./faults.ts";
import type { Asked } from "./requests.ts";
import type { Answer } from "./wire.ts";

/** A way in which a request fails. */
export interface FaultKind {
  name: string;
  /** Which requests it can happen to. */
  strikes: (call: Asked) => boolean;
  fault: (chance: Chance) => Fault;
}

const isPve = ({ api }: Asked) => api === "pve";
const isKube = ({ api }: Asked) => api === "kube" || api === "supervisor";
const isProvider = ({ api }: Asked) => api === "provider";
const isWatch = ({ query }: Asked) => query.get("watch") === "true";
const isAnswered = (call: Asked) => !isProvider(call) && !isWatch(call);
const isWrite = ({ method }: Asked) => method !== "GET";
const startsTask = (call: Asked) =>
  isPve(call) && (/\/status\/[a-z]+$/.test(call.path) ? isWrite(call) : call.method === "DELETE");
const setsConfig = ({ method, path }: Asked) => method === "PUT" && path.endsWith("/config");

/**
 * All kinds of faults. A campaign strikes every kind of request with each of them that can happen to it, watch or not.
 */
export const faultKinds: readonly FaultKind[] = [
  proxmox("595", isPve, 595, "Connection refused"),
  proxmox("596", isPve, 596, "Broken pipe"),
  proxmox("599", isPve, 599, "Too many redirections"),
  proxmox("401", isPve, 401, "invalid PVE ticket"),
  proxmox("no worker", startsTask, 500, "got no worker upid - start worker failed"),
  proxmox(
    "no lock",
    (call) => startsTask(call) || setsConfig(call),
    500,
    "can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout",
  ),
  kubernetes("500", isKube, status(500, "InternalError", "etcdserver: request timed out")),
  kubernetes("503", isKube, status(503, "ServiceUnavailable", "the server is currently unable to handle the request")),
  kubernetes("429", isKube, status(429, "TooManyRequests", "too many requests, please try again later")),
  kubernetes("401", isKube, status(401, "Unauthorized", "Unauthorized")),
  kubernetes(
    "409",
    (call) => isKube(call) && ["PUT", "PATCH", "DELETE"].includes(call.method),
    status(409, "Conflict", "the object has been modified; please apply your changes to the latest version"),
  ),
  lost("not sent", { after: false, how: "hang up" }, isAnswered),
  lost("answer lost", { after: true, how: "hang up" }, isAnswered),
  lost("silence", { after: false, how: "silence" }, isAnswered),
  lost("silence after", { after: true, how: "silence" }, isAnswered),
  { name: "refused", strikes: isProvider, fault: () => ({ refusal: { status: 500, reason: "got timeout" } }) },
  {
    name: "answer lost",
    strikes: (call) => isProvider(call) && call.method !== "clone",
    fault: () => ({ lost: { after: true, how: "hang up" } }),
  },
  // Far below half the duration of a lease: a check right before a request still holds when the request arrives.
  { name: "slow", strikes: () => true, fault: (chance) => ({ ms: chance.between(200, 4000) }) },
  { name: "410", strikes: isWatch, fault: () => ({ refusal: status(410, "Expired", "too old resource version") }) },
  { name: "breaks", strikes: isWatch, fault: (chance) => ({ breaksAfter: chance.between(100, 20_000) }) },
];

function proxmox(name: string, strikes: FaultKind["strikes"], code: number, reason: string): FaultKind {
  return { name, strikes, fault: () => ({ refusal: { status: code, reason, body: "" } }) };
}

function kubernetes(name: string, strikes: FaultKind["strikes"], refusal: Answer): FaultKind {
  return { name, strikes, fault: () => ({ refusal }) };
}

function lost(name: string, how: NonNullable<Fault["lost"]>, strikes: FaultKind["strikes"]): FaultKind {
  return { name, strikes, fault: () => ({ lost: how }) };
}

/** A refusal in the format of the API server. */
export function status(code: number, reason: string, message: string, cause?: string): Answer {
  const details = cause === undefined ? {} : { details: { causes: [{ reason: cause }] } };
  return {
    status: code,
    body: JSON.stringify({ kind: "Status", status: "Failure", code, reason, message, ...details }),
  };
}
