import { EventEmitter, once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, dirname } from "node:path/posix";
import { Kubernetes } from "../../../src/clients/kubernetes/client.ts";

/** An object of the fake; only what the fake itself looks at is typed. */
export interface Stored {
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    generation?: number;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  [field: string]: unknown;
}

export interface Call {
  method: string;
  path: string;
  query: Record<string, string>;
  type: string | undefined;
  body: Record<string, unknown>;
}

type Hook = (
  call: Call,
) => { status: number; reason: string; message?: string; cause?: string } | "hang up" | "ok" | undefined;

/** Gives each test of a suite a cluster of its own with a client, and ends both after it. */
export function freshCluster(use: (cluster: FakeCluster, client: Kubernetes) => void): void {
  let end: () => Promise<void>;
  beforeEach(async () => {
    const cluster = new FakeCluster();
    const client = await cluster.start();
    end = async () => {
      await client.close();
      await cluster.stop();
    };
    use(cluster, client);
  });
  afterEach(() => end());
}

/** A very small API server: objects by path, versions, preconditions, label and field selectors, watches. */
export class FakeCluster {
  readonly objects = new Map<string, Stored>();
  readonly calls: Call[] = [];
  /** Answers a request in the place of the server; undefined lets the server answer. */
  hook: Hook = () => undefined;
  /** Requests that are carried out and whose answer is lost. */
  late: (call: Call) => boolean = () => false;
  /** Watches are answered and end at once, as behind a proxy that holds no streams. */
  endsWatches = false;
  private version = 1;
  private readonly watchers = new Set<Watcher>();
  private readonly began = new EventEmitter();
  /** All changes, for a watch that begins at an older version: what came between its list and itself is not lost. */
  private readonly changes: Change[] = [];
  private readonly server = createServer((request, response) => void this.handle(request, response));
  private port = 0;

  async start(): Promise<Kubernetes> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    this.port = (this.server.address() as AddressInfo).port;
    return this.client();
  }

  client(): Kubernetes {
    return new Kubernetes({ server: `http://127.0.0.1:${this.port}` }, 1);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Creates or replaces an object below a collection and tells the watchers. */
  put(collection: string, object: Stored): Stored {
    const path = `${collection}/${object.metadata.name}`;
    const before = this.objects.get(path);
    this.version += 1;
    const metadata = {
      uid: `uid-${path}-${this.version}`,
      ...before?.metadata,
      ...object.metadata,
      resourceVersion: String(this.version),
    };
    if (before?.metadata.uid !== undefined) metadata.uid = before.metadata.uid;
    const stored = { ...object, metadata };
    this.objects.set(path, stored);
    this.tell(before ? "MODIFIED" : "ADDED", path, stored);
    return stored;
  }

  remove(path: string): void {
    const object = this.objects.get(path);
    if (!object) return;
    this.objects.delete(path);
    this.version += 1;
    this.tell("DELETED", path, { ...object, metadata: { ...object.metadata, resourceVersion: String(this.version) } });
  }

  /** Breaks every watch, with or without a word. */
  breakWatches(error?: object): void {
    for (const { response } of this.watchers) {
      if (error) response.end(`${JSON.stringify({ type: "ERROR", object: error })}\n`);
      else response.destroy();
    }
    this.watchers.clear();
  }

  /** Ends when every watcher's connection has it. */
  async bookmark(): Promise<void> {
    this.version += 1;
    const object = { metadata: { resourceVersion: String(this.version) } };
    const line = `${JSON.stringify({ type: "BOOKMARK", object })}\n`;
    const written = (response: ServerResponse) => new Promise<void>((resolve) => response.write(line, () => resolve()));
    await Promise.all([...this.watchers].map(({ response }) => written(response)));
  }

  /** The next watch that begins. */
  async nextWatch(): Promise<void> {
    await once(this.began, "watch");
  }

  count(method: string, path: RegExp): number {
    return this.calls.filter((call) => call.method === method && path.test(call.path)).length;
  }

  private tell(type: string, path: string, object: Stored): void {
    const change = { version: this.version, type, path, object };
    this.changes.push(change);
    for (const watcher of this.watchers) hear(watcher, change);
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const url = new URL(request.url ?? "/", "http://fake");
    const text = Buffer.concat(chunks).toString();
    const call: Call = {
      method: request.method ?? "",
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      type: request.headers["content-type"],
      body: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown>,
    };
    this.calls.push(call);
    const hooked = this.hook(call);
    if (hooked === undefined && this.late(call)) {
      response.destroy();
      this.answer(call, url.searchParams, response);
    } else if (hooked === "hang up") response.destroy();
    else if (hooked === "ok") send(response, 201, {});
    else if (hooked) fail(response, hooked.status, hooked.reason, hooked.message, hooked.cause);
    else this.answer(call, url.searchParams, response);
  }

  private answer(call: Call, query: URLSearchParams, response: ServerResponse): void {
    const { method, path, body } = call;
    const object = this.objects.get(path);
    if (method === "GET" && /(s|budgets)$/.test(path) && !object) {
      if (query.get("watch") === "true") this.watch(path, query, response);
      else this.list(path, query, response);
    } else if (method === "POST") {
      const created = body as unknown as Stored;
      if (this.objects.has(`${path}/${created.metadata.name}`)) fail(response, 409, "AlreadyExists");
      else send(response, 201, this.put(path, created));
    } else if (!object) fail(response, 404, "NotFound");
    else if (method === "GET") send(response, 200, object);
    else if (method === "DELETE") {
      const only = (body as { preconditions?: { uid?: string; resourceVersion?: string } }).preconditions ?? {};
      if (Object.entries(only).some(([key, value]) => object.metadata[key as "uid"] !== value))
        fail(response, 409, "Conflict");
      else {
        this.remove(path);
        send(response, 200, {});
      }
    } else {
      const changed = (method === "PATCH" ? merge(object, body) : body) as Stored;
      const wanted = (body.metadata as Stored["metadata"] | undefined)?.resourceVersion;
      if (wanted !== undefined && wanted !== object.metadata.resourceVersion) fail(response, 409, "Conflict");
      else send(response, 200, this.put(path.slice(0, path.lastIndexOf("/")), changed));
    }
  }

  private list(path: string, query: URLSearchParams, response: ServerResponse): void {
    const items = [...this.objects]
      .filter(
        ([at, object]) =>
          (at.slice(0, at.lastIndexOf("/")) === path || inAllNamespaces(path, at)) && matches(object, query),
      )
      .map(([, object]) => object);
    const from = Number(query.get("continue") ?? 0);
    const to = from + Number(query.get("limit") ?? items.length);
    const more = to < items.length ? { continue: String(to) } : {};
    send(response, 200, { metadata: { resourceVersion: String(this.version), ...more }, items: items.slice(from, to) });
  }

  private watch(path: string, query: URLSearchParams, response: ServerResponse): void {
    const from = Number(query.get("resourceVersion"));
    response.writeHead(200);
    response.flushHeaders();
    if (this.endsWatches) {
      response.end();
      return;
    }
    const watcher = { path, query, response };
    for (const change of this.changes) if (change.version > from) hear(watcher, change);
    this.watchers.add(watcher);
    this.began.emit("watch");
  }
}

interface Watcher {
  path: string;
  query: URLSearchParams;
  response: ServerResponse;
}

interface Change {
  version: number;
  type: string;
  path: string;
  object: Stored;
}

function hear({ path: collection, query, response }: Watcher, { type, path, object }: Change): void {
  if (!path.startsWith(`${collection}/`) && !inAllNamespaces(collection, path)) return;
  if (matches(object, query)) response.write(`${JSON.stringify({ type, object })}\n`);
}

/** `/api/v1/pods` also means the pods below `/api/v1/namespaces/x/pods/`. */
function inAllNamespaces(collection: string, path: string): boolean {
  const [version, kind] = [dirname(collection), basename(collection)];
  return path.startsWith(`${version}/namespaces/`) && path.split("/").at(-2) === kind;
}

function matches(object: Stored, query: URLSearchParams): boolean {
  const labels = (query.get("labelSelector") ?? "").split(",").filter(Boolean);
  const fields = (query.get("fieldSelector") ?? "").split(",").filter(Boolean);
  return (
    labels.every((label) => {
      const [key = "", wanted] = label.split("=");
      const value = object.metadata.labels?.[key];
      return wanted === undefined ? value !== undefined : value === wanted;
    }) &&
    fields.every((field) => {
      const [path = "", value] = field.split("=");
      return path.split(".").reduce<unknown>((at, key) => (at as Record<string, unknown>)[key] ?? {}, object) === value;
    })
  );
}

/** JSON merge patch; also good enough for the strategic patches of these tests. */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> = { ...(typeof target === "object" ? target : {}) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = merge(result[key], value);
  }
  return result;
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function fail(response: ServerResponse, status: number, reason: string, message = reason, cause?: string): void {
  const details = cause === undefined ? undefined : { causes: [{ reason: cause }] };
  send(response, status, { kind: "Status", code: status, reason, message, details });
}
