import { clock } from "../../runtime/clock.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import { isConnectionError } from "../retry.ts";
import type { Kubernetes, Query } from "./client.ts";
import { KubernetesError, refusal } from "./errors.ts";
import type { Resource } from "./types.ts";

/** The current objects, by `namespace/name`. The watch owns the map and changes it with the next turn. */
export type Seen<T> = ReadonlyMap<string, T>;

type Line<T> = { type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK"; object: T } | { type: "ERROR"; object: unknown };

/** Longest life of one connection, in seconds: after it, a server that died silently is noticed. */
const connectionSeconds = 60;

/**
 * A connection that ended sooner counts as failed, whatever it answered: the next one waits a little. In milliseconds.
 */
const shortMs = 1000;

/**
 * Lists and then watches: yields the current objects after the list and after every change, across broken connections
 * and expired versions, until `signal` aborts. Then it ends without an error.
 * @throws KubernetesError when the API server refuses the request itself
 */
export async function* watch<T extends Resource>(
  client: Kubernetes,
  path: string,
  query: Query,
  signal: AbortSignal,
): AsyncGenerator<Seen<T>, void, undefined> {
  const seen = new Map<string, T>();
  let version = "";
  const ended = (): boolean => signal.aborted;
  for (let short = 0; !ended();) {
    const began = clock.elapsed();
    try {
      if (version === "") {
        version = await relist(client, path, query, seen);
        yield seen;
      }
      for await (const line of readLines<T>(client, path, { ...query, ...watching(version) }, signal)) {
        if (line.type === "ERROR") throw refusal(line.object, 500, "WATCH", path);
        version = line.object.metadata?.resourceVersion ?? version;
        if (line.type === "BOOKMARK") continue;
        if (line.type === "DELETED") seen.delete(key(line.object));
        else seen.set(key(line.object), line.object);
        yield seen;
      }
    } catch (error) {
      if (ended()) return;
      if (!isTransient(error)) throw error;
      if (isExpired(error)) version = "";
    }
    short = clock.elapsed() - began < shortMs ? short + 1 : 0;
    if (short === 0) continue;
    // Refused, broken, or answered and ended at once, as by a proxy that does not hold streams: retried with growing
    // pauses.
    if (short % 10 === 0) say(`Kubernetes: the watch of ${path} ended at once ${short} times; it is tried again`);
    await clock.sleep(Math.min(100 * 2 ** short, 2000), signal).catch(() => undefined);
  }
}

/** The key of an object in the map. */
function key({ metadata }: Resource): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}

function watching(resourceVersion: string): Query {
  return { watch: "true", allowWatchBookmarks: "true", timeoutSeconds: connectionSeconds, resourceVersion };
}

async function relist<T extends Resource>(
  client: Kubernetes,
  path: string,
  query: Query,
  seen: Map<string, T>,
): Promise<string> {
  const { items, resourceVersion } = await client.list<T>(path, query);
  seen.clear();
  for (const item of items) seen.set(key(item), item);
  return resourceVersion;
}

/** The resource version is too old for the API server: the objects have to be listed again. */
function isExpired(error: unknown): boolean {
  return error instanceof KubernetesError && (error.status === 410 || error.reason === "Expired");
}

/** Whether the same request may be answered later: the API server was away, or could not answer. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof KubernetesError)) return isConnectionError(error) || isUnreachable(error);
  return isExpired(error) || error.status >= 500 || error.status === 429;
}

function isUnreachable(error: unknown): boolean {
  return error instanceof Error && isConnectionError(error.cause);
}

async function* readLines<T>(
  client: Kubernetes,
  path: string,
  query: Query,
  signal: AbortSignal,
): AsyncGenerator<Line<T>, void, undefined> {
  const body = await client.stream(path, query, signal);
  body.setEncoding("utf8");
  let rest = "";
  for await (const chunk of body) {
    const parts = (rest + String(chunk)).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) if (part !== "") yield JSON.parse(part) as Line<T>;
  }
}

/**
 * Waits for a condition by watching.
 * @param answer gives undefined while the condition does not hold; an error that it throws ends the wait
 * @param blockedBy says what blocks the wait, called when the time is over
 * @throws DeadlineError
 */
export async function waitUntil<T extends Resource, Answer>(
  client: Kubernetes,
  watched: { path: string; query?: Query },
  deadline: Deadline,
  answer: (seen: Seen<T>) => Answer | undefined,
  blockedBy: () => string = () => "",
): Promise<Answer> {
  deadline.throwIfStopped();
  for await (const seen of watch<T>(client, watched.path, watched.query ?? {}, deadline.signal())) {
    const found = answer(seen);
    if (found !== undefined) return found;
  }
  deadline.throwIfStopped();
  throw deadline.error(blockedBy());
}

/** Restricts a watch to one object. */
export function named(path: string, name: string): { path: string; query: Query } {
  return { path, query: { fieldSelector: `metadata.name=${name}` } };
}
