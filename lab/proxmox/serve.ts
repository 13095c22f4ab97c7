/** The HTTPS server in front of a data centre's API. */
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { ApiError } from "./answer.ts";
import type { DataCentre, Fault, Request } from "./data-centre.ts";
import { claimedToken, handle } from "./handle.ts";
import type { Answer, Incoming } from "./handle.ts";
import { boundaryOf, readBody } from "./body.ts";
import { fromForm } from "./form.ts";
import { findRoute } from "./routes.ts";

export interface ServeOptions {
  /** Loopback address. */
  address: string;
  port: number;
  /** PEM. */
  key: string | Buffer;
  /** PEM. */
  cert: string | Buffer;
}

const prefix = "/api2/json";

async function read(message: IncomingMessage): Promise<Incoming> {
  const url = new URL(message.url ?? "/", "https://pve");
  const raw = url.pathname.startsWith(prefix) ? url.pathname.slice(prefix.length) : url.pathname;
  const body = await readBody(message);
  return {
    method: message.method ?? "GET",
    // Clients send colons and slashes of volume ids and UPIDs encoded or bare; DELETE comes with a trailing slash.
    path: decodeURIComponent(raw).replace(/^\/+|\/+$/g, ""),
    // The query takes precedence.
    params: new Map([...body.params, ...fromForm(url.search.slice(1))]),
    authorization: message.headers.authorization,
    ...(body.upload && { upload: body.upload }),
  };
}

function describe(incoming: Incoming): Request {
  const found = findRoute(incoming.method, incoming.path);
  return {
    method: incoming.method,
    path: incoming.path,
    endpoint: found?.route.path ?? incoming.path,
    token: claimedToken(incoming.authorization),
    params: new Map([...incoming.params].map(([name, [value = ""]]) => [name, value])),
  };
}

/** @param agent the client's name for itself: only the provider, which is written in Go, has one */
function count(dc: DataCentre, request: Request, agent = ""): void {
  const bump = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1);
  dc.requests.total += 1;
  if (agent.startsWith("Go-http-client/")) dc.requests.ofProvider += 1;
  bump(dc.requests.byToken, request.token ?? "");
  bump(dc.requests.byEndpoint, `${request.method} ${request.endpoint}`);
}

function write(response: ServerResponse, answer: Answer): void {
  // A status line contains a single line of printable Latin-1.
  const reason = (answer.reason.split("\n")[0] ?? "").replace(/[^\x20-\x7e\xa0-\xff]/g, "?");
  const body = answer.body === undefined ? "" : JSON.stringify(answer.body);
  response.writeHead(answer.status, reason, {
    "Content-Type": "application/json;charset=UTF-8",
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "max-age=0",
    Pragma: "no-cache",
    Server: "pve-api-daemon/3.0",
  });
  response.end(body);
}

/** Applies a fault. @returns its answer, "cut" when the connection was cut */
async function suffer(fault: Fault | undefined, response: ServerResponse): Promise<Answer | "cut" | undefined> {
  if (fault?.delay !== undefined) await delay(fault.delay);
  if ((await fault?.hold?.()) === true || fault?.drop) {
    response.socket?.destroy();
    return "cut";
  }
  return fault?.answer && { ...fault.answer, body: undefined };
}

/** Bytes. */
const maxForm = 512 * 1024;

/** Requests that pveproxy refuses without reading the body. */
function refusalOf({ method = "", url = "", headers }: IncomingMessage): [status: number, reason: string] | undefined {
  const length = Number(headers["content-length"] ?? 0);
  const type = headers["content-type"] ?? "";
  if (!["GET", "POST", "PUT", "DELETE"].includes(method)) return [501, `method '${method}' not available`];
  if (headers["transfer-encoding"] === "chunked") return [501, "chunked transfer encoding not supported"];
  if (length === 0) return undefined;
  if (method === "GET" || method === "DELETE") return [501, `Unexpected content for method '${method}'`];
  const isUpload = /\/storage\/[^/]+\/upload$/.test(url.split("?")[0] ?? "") && boundaryOf(type) !== undefined;
  if (isUpload) return undefined;
  if (length > maxForm) return [501, "for data too large"];
  const isRead = ["", "application/x-www-form-urlencoded", "application/json"].includes(
    (type.split(";")[0] ?? "").trim(),
  );
  return isRead ? undefined : [506, `upload 'Content-Type '${type}' not implemented`];
}

async function serveOne(dc: DataCentre, message: IncomingMessage, response: ServerResponse): Promise<void> {
  const began = performance.now();
  const refused = refusalOf(message);
  if (refused !== undefined) {
    const [status, reason] = refused;
    response.setHeader("Connection", "close");
    write(response, { status, reason, body: undefined });
    return;
  }
  const incoming = await read(message);
  const request = describe(incoming);
  count(dc, request, message.headers["user-agent"]);
  let answer = await suffer(dc.fault?.("before", request), response);
  if (answer === undefined) {
    const usual = await handle(dc, incoming);
    answer = (await suffer(dc.fault?.("after", request), response)) ?? usual;
  }
  const { status, reason } = answer === "cut" ? { status: 0, reason: "connection cut" } : answer;
  dc.accessLog?.({ ...request, status, reason, milliseconds: performance.now() - began });
  if (answer !== "cut") write(response, answer);
}

/** Serves a data centre's API on a port: HTTPS, TLS 1.3, HTTP/1.1. */
export async function serve(dc: DataCentre, options: ServeOptions): Promise<{ close(): Promise<void> }> {
  const server = createServer({ key: options.key, cert: options.cert, minVersion: "TLSv1.3" }, (message, response) => {
    serveOne(dc, message, response).catch((error: unknown) => {
      if (response.headersSent) response.socket?.destroy();
      else if (error instanceof ApiError)
        write(response, { status: error.status, reason: error.message, body: undefined });
      else write(response, { status: 400, reason: `bad request: ${String(error)}`, body: undefined });
    });
  });
  // pveproxy closes idle connections after 5 s, which races the pools of clients.
  server.keepAliveTimeout = 5000;
  server.keepAliveTimeoutBuffer = 0;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.address, resolve);
  });
  return {
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
