/** RKE2's supervisor on port 9345 of a server: it answers nodes that join, before they have a Node. */
import https from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import { messageOf } from "../../src/runtime/errors.ts";
import { say } from "../../src/runtime/log.ts";
import { taken } from "./balancer.ts";
import type { Boundaries } from "../boundaries.ts";
import type { Kube, KubeObject } from "../kube.ts";
import type { Cluster } from "./cluster.ts";
import type { EtcdMember } from "./etcd.ts";
import { ensureNodePassword, NodePasswordRejected } from "./node-password.ts";
import type { Scope } from "./scope.ts";
import { SnapshotRefusal } from "./snapshots.ts";
import type { SnapshotRequest, Snapshots } from "./snapshots.ts";

/** An answer that reports a failure. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The identity that the credentials of a request prove. */
type Caller = { kind: "server" } | { kind: "agent" } | { kind: "node"; name: string };

interface BootstrapSecret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
}

export interface SupervisorOptions {
  cluster: Cluster;
  address: string;
  /** Additional names in its certificate. */
  names: readonly string[];
  /** A client of the server's own API server, as administrator. */
  kube: Kube;
  /** Members of etcd as the server's own member reports them. */
  members: () => Promise<EtcdMember[]>;
  snapshots: Snapshots;
  boundaries: Boundaries;
}

/** Listens until the scope ends. */
export async function serveSupervisor(options: SupervisorOptions, scope: Scope): Promise<void> {
  const { cluster, address } = options;
  const credentials = cluster.serving(address, options.names);
  const tls = { ...credentials, ca: cluster.clientCa.cert, requestCert: true, rejectUnauthorized: false };
  const server = https.createServer(tls, (request, response) => void handle(options, request, response));
  scope.defer(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(taken(`${address}:9345`, error)));
    server.listen(9345, address, resolve);
  });
}

/** The reason that a Status object gives for a status code. */
const reasons: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  500: "InternalError",
};

/** The requests with a boundary: those that come from clients other than nodes. */
const asked = ({ method = "", url = "" }: IncomingMessage) =>
  url.startsWith("/db/") ? { method, path: url } : undefined;

async function handle(options: SupervisorOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const boundary = asked(request);
  const crossing = boundary && options.boundaries.enter(boundary);
  try {
    if (await crossing?.at("before")) return void request.socket.destroy();
    const text = await answer(options, request);
    if (await crossing?.at("after")) return void request.socket.destroy();
    response.writeHead(200, { "content-type": "text/plain" }).end(text);
  } catch (error) {
    const status = error instanceof Refusal || error instanceof SnapshotRefusal ? error.status : 503;
    if (status === 503) say(`lab: supervisor ${options.address}: ${messageOf(error)}`);
    const reason = reasons[status] ?? "ServiceUnavailable";
    const body = {
      kind: "Status",
      apiVersion: "v1",
      status: "Failure",
      message: messageOf(error),
      reason,
      code: status,
    };
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  }
}

async function answer(options: SupervisorOptions, request: IncomingMessage): Promise<string> {
  const { cluster, kube } = options;
  switch (`${request.method ?? ""} ${request.url ?? ""}`) {
    case "GET /cacerts":
      return cluster.serverCa.cert;
    case "GET /ping":
      return "pong";
    case "GET /v1-rke2/server-bootstrap": {
      const caller = await authenticate(options, request);
      if (caller.kind !== "server") throw new Refusal(403, "Forbidden");
      return "{}";
    }
    case "GET /db/info": {
      const caller = await authenticate(options, request);
      if (caller.kind !== "server") throw new Refusal(403, "Forbidden");
      return JSON.stringify({ members: await options.members() });
    }
    case "POST /db/snapshot": {
      const caller = await authenticate(options, request);
      if (caller.kind !== "server") throw new Refusal(403, "Forbidden");
      return JSON.stringify(await options.snapshots.handle(await bodyOf(request)));
    }
    case "GET /v1-rke2/client-kubelet.crt": {
      const caller = await authenticate(options, request);
      const { name, password } = nodeOf(request);
      if (caller.kind === "node" && caller.name !== name) throw new Refusal(403, `not valid for node ${name}`);
      await checkPassword(kube, name, password);
      const { cert, key } = cluster.kubeletIdentity(name);
      return cert + key;
    }
    default:
      throw new Refusal(404, "404 page not found");
  }
}

async function bodyOf(request: IncomingMessage): Promise<SnapshotRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  try {
    return JSON.parse(Buffer.concat(chunks).toString()) as SnapshotRequest;
  } catch {
    throw new Refusal(500, "etcd-snapshot error ID 00500");
  }
}

function nodeOf({ headers }: IncomingMessage): { name: string; password: string } {
  const [name, password] = [headers["rke2-node-name"], headers["rke2-node-password"]];
  if (typeof name !== "string" || name === "") throw new Refusal(400, "node name not set");
  if (typeof password !== "string" || password === "") throw new Refusal(400, "node password not set");
  return { name, password };
}

async function checkPassword(kube: Kube, node: string, password: string): Promise<void> {
  try {
    await ensureNodePassword(kube, node, password);
  } catch (error) {
    if (error instanceof NodePasswordRejected) throw new Refusal(403, error.message);
    throw error;
  }
}

async function authenticate(options: SupervisorOptions, request: IncomingMessage): Promise<Caller> {
  const node = await byCertificate(options, request);
  if (node !== undefined) return { kind: "node", name: node };
  const { cluster, kube } = options;
  const [scheme = "", value = ""] = (request.headers.authorization ?? "").split(" ", 2);
  if (scheme === "Basic") {
    const text = Buffer.from(value, "base64").toString();
    const [user, password] = [text.slice(0, text.indexOf(":")), text.slice(text.indexOf(":") + 1)];
    if (password === cluster.password && user === "server") return { kind: "server" };
    if (password === cluster.password && user === "node") return { kind: "agent" };
    if (user === "node" && (await isBootstrapToken(kube, password))) return { kind: "agent" };
  }
  if (scheme === "Bearer" && (await isBootstrapToken(kube, value))) return { kind: "agent" };
  throw new Refusal(401, "Unauthorized");
}

/** A kubelet's own certificate is valid as long as its Node exists. */
async function byCertificate({ kube }: SupervisorOptions, { socket }: IncomingMessage): Promise<string | undefined> {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const name = /^system:node:(.+)$/.exec(String(socket.getPeerCertificate().subject.CN))?.[1];
  if (name === undefined) return undefined;
  const found = await kube.call("GET", `/api/v1/nodes/${name}`);
  return found.status === 200 ? name : undefined;
}

/** @param token `<id>.<secret>` */
async function isBootstrapToken(kube: Kube, token: string): Promise<boolean> {
  const [id, secret] = token.split(".", 2);
  if (!id || !secret || !/^[a-z0-9]{6}$/.test(id)) return false;
  const found = await kube.call<BootstrapSecret>("GET", `/api/v1/namespaces/kube-system/secrets/bootstrap-token-${id}`);
  if (found.status === 404) return false;
  if (found.status !== 200) throw new Error(`secret bootstrap-token-${id}: ${found.status}`);
  if (found.body.metadata.deletionTimestamp || found.body.type !== "bootstrap.kubernetes.io/token") return false;
  const field = (name: string) => Buffer.from(found.body.data?.[name] ?? "", "base64").toString();
  const expires = field("expiration");
  const expired = expires !== "" && !(Date.parse(expires) > Date.now());
  const valid = field("token-id") === id && field("token-secret") === secret;
  return valid && !expired && field("usage-bootstrap-authentication") === "true";
}
