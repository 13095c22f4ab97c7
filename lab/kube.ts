/** The lab's own small Kubernetes client: only what the lab needs, and no code of the product. */
import { setTimeout as delay } from "node:timers/promises";
import { Agent, request } from "undici";
import { parse } from "yaml";

/** How to reach an API server, with a client certificate. All PEM. */
export interface KubeAccess {
  /** `https://127.40.0.5:6443` */
  server: string;
  ca: string;
  cert: string;
  key: string;
}

export interface KubeObject {
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    resourceVersion?: string;
    deletionTimestamp?: string;
    ownerReferences?: { kind: string; name: string; controller?: boolean }[];
  };
}

export interface Answer<T> {
  status: number;
  body: T;
}

/** Receives what a watch reports. `sync` comes first and after every gap, with all existing objects. */
export interface WatchHandler<T> {
  sync(items: T[]): void;
  event(type: "ADDED" | "MODIFIED" | "DELETED", object: T): void;
}

/**
 * Turns a watch with its gaps into calls of `there` and `gone`.
 * @param gone `seen` is false for an object that vanished in a gap, of which only an old state is known
 */
export function follow<T extends KubeObject>(
  there: (object: T) => void,
  gone: (object: T, seen: boolean) => void,
): WatchHandler<T> {
  const known = new Map<string, T>();
  const keyOf = ({ metadata }: T) => metadata.uid ?? metadata.name;
  return {
    sync(items) {
      const present = new Set(items.map(keyOf));
      for (const [key, object] of known) {
        if (present.has(key)) continue;
        known.delete(key);
        gone(object, false);
      }
      for (const item of items) {
        known.set(keyOf(item), item);
        there(item);
      }
    },
    event(type, object) {
      if (type === "DELETED") {
        known.delete(keyOf(object));
        gone(object, true);
      } else {
        known.set(keyOf(object), object);
        there(object);
      }
    },
  };
}

/** The lab's user agent, which distinguishes its requests from those of the tool under test. */
export const userAgent = "evergreen-lab";

/** Seconds after which the server ends a watch, so that a silent connection is detected. */
const watchSeconds = 60;

const headers = { accept: "application/json", "user-agent": userAgent };

export class Kube {
  readonly access: KubeAccess;
  private readonly agent: Agent;

  constructor(access: KubeAccess) {
    this.access = access;
    const { ca, cert, key } = access;
    this.agent = new Agent({
      connect: { ca, cert, key },
      headersTimeout: 15_000,
      bodyTimeout: (watchSeconds + 15) * 1000,
    });
  }

  /** Sends a request and returns the answer, whatever its status. @throws when the server does not answer */
  async call<T>(
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
    path: string,
    body?: object,
    /** How a PATCH treats lists: replaces them, or merges them by their keys. */
    patch: "merge" | "strategic-merge" = "merge",
  ): Promise<Answer<T>> {
    const answer = await request(this.access.server + path, {
      dispatcher: this.agent,
      method,
      headers: {
        ...headers,
        ...(body
          ? { "content-type": method === "PATCH" ? `application/${patch}-patch+json` : "application/json" }
          : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return { status: answer.statusCode, body: (await answer.body.json()) as T };
  }

  /**
   * Lists, then follows until `signal` aborts. Survives lost connections and outages and misses nothing silently:
   * after a gap `sync` is called again.
   */
  async watch<T extends KubeObject>(path: string, handler: WatchHandler<T>, signal: AbortSignal): Promise<void> {
    let version: string | undefined;
    while (!signal.aborted) {
      try {
        if (version !== undefined && (await this.wentBack(version, signal))) version = undefined;
        version ??= await this.list(path, handler, signal);
        version = await this.follow(path, version, handler, signal);
      } catch {
        await delay(100);
      }
    }
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  private async list<T>(path: string, handler: WatchHandler<T>, signal: AbortSignal): Promise<string> {
    const answer = await request(this.access.server + path, { dispatcher: this.agent, headers, signal });
    const body = (await answer.body.json()) as { items: T[]; metadata: { resourceVersion: string } };
    if (answer.statusCode !== 200) throw new Error(`list ${path}: ${answer.statusCode}`);
    handler.sync(body.items);
    return body.metadata.resourceVersion;
  }

  /**
   * Whether the store is older than the last version seen, as after a snapshot is restored: a watch would be silent for
   * long. Lists services, because nodes may list them too.
   */
  private async wentBack(version: string, signal: AbortSignal): Promise<boolean> {
    const options = { dispatcher: this.agent, headers, signal };
    const answer = await request(`${this.access.server}/api/v1/services?limit=1`, options);
    const body = (await answer.body.json()) as { metadata?: { resourceVersion?: string } };
    if (answer.statusCode !== 200) throw new Error(`list services: ${answer.statusCode}`);
    return Number(body.metadata?.resourceVersion) < Number(version);
  }

  /** @returns the version to continue from; undefined: the history is gone, list again */
  private async follow<T extends KubeObject>(
    path: string,
    from: string,
    handler: WatchHandler<T>,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    let version = from;
    const query = new URLSearchParams({
      watch: "1",
      allowWatchBookmarks: "true",
      timeoutSeconds: String(watchSeconds),
      resourceVersion: version,
    });
    const join = path.includes("?") ? "&" : "?";
    const answer = await request(`${this.access.server}${path}${join}${query.toString()}`, {
      dispatcher: this.agent,
      headers,
      signal,
    });
    if (answer.statusCode !== 200) {
      await answer.body.dump();
      if (answer.statusCode === 410) return undefined;
      throw new Error(`watch ${path}: ${answer.statusCode}`);
    }
    try {
      for await (const line of lines(answer.body)) {
        const { type, object } = JSON.parse(line) as { type: string; object: T };
        if (type === "ERROR") return undefined;
        version = object.metadata.resourceVersion ?? version;
        if (type === "ADDED" || type === "MODIFIED" || type === "DELETED") handler.event(type, object);
      }
    } catch (error) {
      if (signal.aborted) throw error;
      // A lost connection: the history continues from the last version seen.
      await delay(50);
    }
    return version;
  }
}

async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) if (part !== "") yield part;
  }
}

/** Reads a kubeconfig with embedded certificates, as the lab writes it. */
export function readKubeconfig(text: string): KubeAccess {
  const config = parse(text) as {
    clusters: { cluster: { server: string; "certificate-authority-data": string } }[];
    users: { user: { "client-certificate-data": string; "client-key-data": string } }[];
  };
  const cluster = config.clusters[0]?.cluster;
  const user = config.users[0]?.user;
  if (!cluster || !user) throw new Error("the kubeconfig holds no cluster or no user");
  const pem = (text: string) => Buffer.from(text, "base64").toString();
  return {
    server: cluster.server,
    ca: pem(cluster["certificate-authority-data"]),
    cert: pem(user["client-certificate-data"]),
    key: pem(user["client-key-data"]),
  };
}
