import { request, type Dispatcher } from "undici";
import { clock } from "../../runtime/clock.ts";
import { connections } from "../../runtime/connections.ts";
import { isConnectionError, sendRetrying } from "../retry.ts";
import { explained, KubernetesError, KubernetesUnreachable, refusal } from "./errors.ts";
import type { Kubeconfig } from "./kubeconfig.ts";
import type { Resource } from "./types.ts";

export type Query = Record<string, string | number | undefined>;
type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

const patches = {
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  json: "application/json-patch+json",
} as const;
export type PatchKind = keyof typeof patches;

export type ServerConfig = Pick<Kubeconfig, "server"> & Partial<Kubeconfig>;

export interface List<T> {
  items: T[];
  resourceVersion: string;
}

/**
 * A client of the cluster's API. Only reads, and patches that set values, are retried: they can safely be sent twice. A
 * patch is sent again only by who still has the right to: an attempt without an answer may have taken half a minute.
 */
export class Kubernetes {
  /** Leases under which patches are sent: each is checked before a patch is sent again. */
  readonly fences = new Set<{ requireOwned: () => Promise<void> }>();
  readonly server: string;
  /** What the client was made from: lets another process connect in the same way. */
  readonly config: ServerConfig;
  private readonly agent: Dispatcher;
  private readonly retryMs: number;
  /** Milliseconds that the clock of the server that answered last is ahead of ours; undefined: none has answered. */
  ahead: number | undefined;
  private answeredAt = clock.elapsed();
  private silentSince: number | undefined;
  private silentMs = 0;

  /** @param retryMs pause before the second try, in milliseconds; doubles */
  constructor(config: ServerConfig, retryMs = 250) {
    this.server = config.server;
    this.config = config;
    this.retryMs = retryMs;
    const { ca, cert, key } = config;
    const tls = ca === undefined || cert === undefined || key === undefined ? {} : { ca, cert, key };
    this.agent = connections({
      connect: { timeout: 5_000, keepAliveInitialDelay: 10_000, ...tls },
      keepAliveTimeout: 4_000,
      headersTimeout: 30_000,
      bodyTimeout: 60_000,
    });
  }

  /**
   * The time by the clock of the API server, accurate to a second: leases are dated by it, whatever our own clock says.
   */
  now(): Date {
    return new Date(clock.date() + (this.ahead ?? 0));
  }

  /** Total seconds without an answer so far: anything that had to come through the API could not come in that time. */
  get silence(): number {
    return (this.silentMs + (this.silentSince === undefined ? 0 : clock.elapsed() - this.silentSince)) / 1000;
  }

  async get<T>(path: string, query: Query = {}): Promise<T> {
    return (await this.call("GET", path, query)) as T;
  }

  /** @returns undefined when the API server says that the object does not exist, and only then */
  async find<T>(path: string): Promise<T | undefined> {
    try {
      return await this.get<T>(path);
    } catch (error) {
      if (error instanceof KubernetesError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** All items, across all pages. */
  async list<T>(path: string, query: Query = {}): Promise<List<T>> {
    const items: T[] = [];
    let next: string | undefined;
    for (;;) {
      const page = await this.get<{
        items?: T[] | null;
        metadata?: { continue?: string; resourceVersion?: string };
      }>(path, { ...query, continue: next });
      if (!("items" in page)) throw new Error(`${path} did not answer with a list`);
      items.push(...(page.items ?? []));
      next = page.metadata?.continue;
      if (next === undefined || next === "") return { items, resourceVersion: page.metadata?.resourceVersion ?? "" };
    }
  }

  async create<T extends Resource>(path: string, object: object): Promise<T> {
    return (await this.call("POST", path, {}, object)) as T;
  }

  /** Replaces an object; when the body has a resourceVersion, only that version is replaced. */
  async replace<T extends Resource>(path: string, object: object): Promise<T> {
    return (await this.call("PUT", path, {}, object)) as T;
  }

  /** @param again called before the patch is sent again: throws when what it rests on does not hold any more */
  async patch<T extends Resource>(
    path: string,
    kind: PatchKind,
    body: object,
    again?: () => Promise<void>,
  ): Promise<T> {
    return (await this.call("PATCH", path, {}, body, { type: patches[kind], again })) as T;
  }

  /**
   * Deletes an object; an object that no longer exists is not an error.
   * @param only deletes just the object that has this uid and resourceVersion
   */
  async delete(path: string, only: { uid?: string; resourceVersion?: string } = {}): Promise<void> {
    try {
      await this.call("DELETE", path, {}, Object.keys(only).length > 0 ? { preconditions: only } : undefined);
    } catch (error) {
      if (!(error instanceof KubernetesError && error.status === 404)) throw error;
    }
  }

  /** Whether the API server reports itself ready, including its etcd. A server that does not answer is not ready. */
  async isReady(signal: AbortSignal): Promise<boolean> {
    try {
      const answer = await this.send("GET", "/readyz", {}, undefined, { signal });
      await answer.body.dump();
      return answer.statusCode === 200;
    } catch (error) {
      if (signal.aborted || isConnectionError(error)) return false;
      throw error;
    }
  }

  /** Opens a stream of lines; the caller reads it to its end or aborts it. */
  async stream(path: string, query: Query, signal: AbortSignal): Promise<Dispatcher.ResponseData["body"]> {
    // The connection to a server that lost its power is dropped a little after the server itself would have ended it.
    const answer = await this.send("GET", path, query, undefined, { signal, bodyTimeout: 75_000 });
    if (answer.statusCode === 200) return answer.body;
    throw refusal(parse(await answer.body.text()), answer.statusCode, "GET", path);
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async call(
    method: Method,
    path: string,
    query: Query,
    body?: object,
    { type, again }: { type?: string; again?: (() => Promise<void>) | undefined } = {},
  ): Promise<unknown> {
    const repeatable = method === "GET" || type === patches.merge || type === patches.strategic;
    return await sendRetrying({
      title: `Kubernetes: ${method} ${path}`,
      send: () => this.sendOnce(method, path, query, body, type),
      isRepeatable: repeatable,
      isTransient,
      pauseMs: this.retryMs,
      beforeNextTry: async () => {
        if (method === "PATCH") for (const fence of this.fences) await fence.requireOwned();
        await again?.();
      },
      unreachable: (attempts, cause) => new KubernetesUnreachable(this.server, method, path, attempts, cause),
    });
  }

  private async sendOnce(method: Method, path: string, query: Query, body?: object, type?: string): Promise<unknown> {
    const payload = body === undefined ? undefined : { text: JSON.stringify(body), type: type ?? "application/json" };
    const answer = await this.send(method, path, query, payload);
    const text = await answer.body.text();
    const value = parse(text);
    if (answer.statusCode < 200 || answer.statusCode > 299)
      throw explained(refusal(value, answer.statusCode, method, path));
    if (typeof value !== "object" || value === null) throw new Error(`${method} ${path} did not answer with an object`);
    return value;
  }

  private async send(
    method: Method,
    path: string,
    query: Query,
    body?: { text: string; type: string },
    more: { signal?: AbortSignal; bodyTimeout?: number } = {},
  ): Promise<Dispatcher.ResponseData> {
    const asked = clock.elapsed();
    const answer = await request(this.server + path + search(query), {
      method,
      dispatcher: this.agent,
      headers: { accept: "application/json", ...(body ? { "content-type": body.type } : {}) },
      ...(body ? { body: body.text } : {}),
      ...more,
    }).catch((error: unknown) => {
      if (isConnectionError(error)) this.hearsNothing(asked);
      throw error;
    });
    if (answer.statusCode >= 500) this.hearsNothing(asked);
    else this.hears();
    const date = Date.parse(String(answer.headers.date));
    if (Number.isFinite(date)) this.ahead = date - clock.date();
    return answer;
  }

  private hears(): void {
    this.silentMs += this.silentSince === undefined ? 0 : clock.elapsed() - this.silentSince;
    this.silentSince = undefined;
    this.answeredAt = clock.elapsed();
  }

  /** @param asked when the request was sent: other requests may have been answered since then, or before */
  private hearsNothing(asked: number): void {
    this.silentSince ??= Math.max(asked, this.answeredAt);
  }
}

function search(query: Query): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
  );
  return given.length === 0 ? "" : `?${given.join("&")}`;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Answers of a server that starts, stops or has no leader: the next try may reach another server. */
function isTransient(error: unknown): boolean {
  if (!(error instanceof KubernetesError)) return false;
  return error.status >= 500 || (error.status === 429 && !error.causes.includes("DisruptionBudget"));
}
