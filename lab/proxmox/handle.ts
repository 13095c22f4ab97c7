/** Handles a request: authentication, route, privileges, parameters, answer. */
import { setTimeout as delay } from "node:timers/promises";
import { ApiError, died, notImplemented } from "./answer.ts";
import type { Call, Route } from "./call.ts";
import { optionOf } from "./config/options.ts";
import type { DataCentre } from "./data-centre.ts";
import type { Token } from "./model.ts";
import { Params, spec, verify, vmidSpec } from "./params.ts";
import type { Spec } from "./params.ts";
import type { Given } from "./form.ts";
import { findRoute } from "./routes.ts";

/** A request as received over the wire. */
export interface Incoming {
  method: string;
  /** Below `/api2/json/`, decoded, without a trailing slash. */
  path: string;
  params: Given;
  authorization: string | undefined;
  upload?: { filename: string; content: Buffer };
}

export interface Answer {
  status: number;
  reason: string;
  /** Undefined: no body at all. */
  body: Record<string, unknown> | undefined;
}

/** Delays the 401 answer, as Proxmox VE does for every unknown caller. */
async function unauthorised(dc: DataCentre, reason: string): Promise<never> {
  await delay(dc.timing.authDelay);
  throw new ApiError(401, reason, { bodyless: true });
}

/** The token of a request, by `PVEAPIToken=USER@REALM!ID=UUID`. */
async function authenticate(dc: DataCentre, authorization: string | undefined): Promise<Token> {
  const credential = /^PVEAPIToken=(.*)$/.exec(authorization ?? "")?.[1];
  if (credential === undefined) return unauthorised(dc, "No ticket");
  const at = credential.lastIndexOf("=");
  const token = dc.tokens.get(credential.slice(0, at));
  if (token?.secret !== credential.slice(at + 1)) return unauthorised(dc, "Authentication failed!");
  return token;
}

/** The token id that a request claims, for counters and logs. */
export function claimedToken(authorization: string | undefined): string | undefined {
  return /^PVEAPIToken=([^=]*)/.exec(authorization ?? "")?.[1];
}

function collect(incoming: Incoming, places: Record<string, string>): Params {
  const params = new Params();
  for (const [name, values] of incoming.params) {
    const [value] = values;
    if (value === undefined) params.unset.add(name);
    else if (values.length > 1) params.lists.set(name, values);
    else params.set(name, value);
  }
  // Clients repeat `node` and `storage` in the body: the value in the path takes precedence.
  for (const [name, value] of Object.entries(places)) {
    params.set(name, value);
    params.unset.delete(name);
    params.lists.delete(name);
  }
  return params;
}

/** @throws ApiError when a node does not exist or does not answer */
function checkNode(dc: DataCentre, name: string | undefined): void {
  if (name === undefined) return;
  const node = dc.nodes.get(name);
  const why = `failed to get address info for: ${name}: Temporary failure in name resolution`;
  // The name lookup ignores case, the check of the certificate does not.
  if (!node && [...dc.nodes.keys()].some((known) => known.toLowerCase() === name.toLowerCase()))
    throw new ApiError(596, "tls_process_server_certificate: certificate verify failed", { bodyless: true });
  if (!node) throw died(`hostname lookup '${name}' failed - ${why}`);
  if (!node.reachable) throw new ApiError(595, "Network is unreachable", { bodyless: true });
}

function specFinder(route: Route, places: Record<string, string>): (name: string) => Spec | undefined {
  return (name) => {
    if (Object.hasOwn(route.params, name)) return route.params[name];
    if (name === "vmid" && name in places) return vmidSpec;
    if (name in places) return spec.text;
    return route.vmOptions ? optionOf(name)?.spec : undefined;
  };
}

async function run(dc: DataCentre, incoming: Incoming): Promise<Answer> {
  if (incoming.method === "POST" && incoming.path === "access/ticket") {
    // The lab has no passwords: every password is wrong.
    await delay(dc.timing.authDelay);
    throw new ApiError(401, "authentication failure");
  }
  const token = await authenticate(dc, incoming.authorization);
  const found = findRoute(incoming.method, incoming.path);
  if (!found) {
    // A path below a node is first forwarded to that node, which may not exist.
    checkNode(dc, /^nodes\/([^/]+)\/./.exec(incoming.path)?.[1]);
    throw notImplemented(incoming.method, incoming.path);
  }
  const { route, places } = found;
  // `localhost` is the node that answers.
  const [here] = dc.nodes.keys();
  if (places.node === "localhost" && here !== undefined) places.node = here;
  const params = collect(incoming, places);
  const call: Call = { dc, token, params, extra: {}, ...(incoming.upload && { upload: incoming.upload }) };
  route.allow(call);
  checkNode(dc, places.node);
  const required = Object.entries(route.params).flatMap(([name, { required: must }]) => (must ? [name] : []));
  // As recorded: a required text may be empty.
  for (const name of required) if (params.unset.delete(name)) params.set(name, "");
  verify(params, specFinder(route, places), required);
  const data = await route.run(call);
  return { status: 200, reason: "OK", body: { data, ...call.extra } };
}

/** Proxmox VE's answer to a request; never throws. */
export async function handle(dc: DataCentre, incoming: Incoming): Promise<Answer> {
  try {
    return await run(dc, incoming);
  } catch (error) {
    const failure = error instanceof ApiError ? error : died(`internal error: ${String(error)}`);
    const { status, message, errors, bodyless } = failure;
    if (bodyless) return { status, reason: message, body: undefined };
    const text = status === 501 ? message : `${message}\n`;
    return { status, reason: message, body: { data: null, message: text, ...(errors && { errors }) } };
  }
}
