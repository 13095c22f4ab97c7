import type { VirtualTime } from "./time.ts";
import type { Stream } from "./wire.ts";

/** An object of the cluster. It is never changed, only replaced: an object that was read stays as it was. */
export interface Stored {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid: string;
    resourceVersion: string;
    creationTimestamp: string;
    deletionTimestamp?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    [field: string]: unknown;
  };
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
  [field: string]: unknown;
}

/** An object before it is stored. */
export type Draft = Omit<Stored, "metadata"> & { metadata: Partial<Stored["metadata"]> & { name: string } };

export type Matcher = (object: Stored) => boolean;

interface Change {
  version: number;
  collection: string;
  object: Stored;
  /** The object before the change; undefined: it is new. */
  before: Stored | undefined;
  removed: boolean;
}

interface Watcher {
  collection: string;
  matches: Matcher;
  out: Stream;
  queue: string[];
}

/** Delay until watches receive a change, in milliseconds. */
const watchDelay = 3;

/** The objects of a cluster by collection (`pods`, `nodes`, ...) and `namespace/name`, with versions and watches. */
export class Objects {
  private readonly time: VirtualTime;
  private readonly collections = new Map<string, Map<string, Stored>>();
  private readonly history: Change[] = [];
  private readonly watchers = new Set<Watcher>();
  private readonly listeners: ((change: { collection: string; object: Stored; removed: boolean }) => void)[] = [];

  constructor(time: VirtualTime) {
    this.time = time;
  }

  get version(): number {
    return this.history.length + 1;
  }

  get(collection: string, key: string): Stored | undefined {
    return this.collections.get(collection)?.get(key);
  }

  list(collection: string): Stored[] {
    return [...(this.collections.get(collection)?.values() ?? [])];
  }

  /** Creates or replaces an object. */
  put(collection: string, draft: Draft): Stored {
    const key = keyOf(draft);
    const before = this.get(collection, key);
    const version = this.version + 1;
    const object: Stored = {
      ...draft,
      metadata: {
        creationTimestamp: new Date(this.time.date()).toISOString(),
        ...draft.metadata,
        uid: before?.metadata.uid ?? `${version.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`,
        resourceVersion: String(version),
      },
    };
    const all = this.collections.get(collection) ?? new Map<string, Stored>();
    this.collections.set(collection, all.set(key, object));
    this.changed({ version, collection, object, before, removed: false });
    return object;
  }

  remove(collection: string, key: string): Stored | undefined {
    const object = this.get(collection, key);
    if (object === undefined) return undefined;
    this.collections.get(collection)?.delete(key);
    const version = this.version + 1;
    const last = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    this.changed({ version, collection, object: last, before: object, removed: true });
    return object;
  }

  /** Notifies the controllers of the simulation of every change, at once. */
  onChange(listener: (change: { collection: string; object: Stored; removed: boolean }) => void): void {
    this.listeners.push(listener);
  }

  /** @returns a function that ends the watch */
  watch(collection: string, matches: Matcher, from: number, out: Stream): () => void {
    const watcher: Watcher = { collection, matches, out, queue: [] };
    this.watchers.add(watcher);
    for (const change of this.history.slice(Math.max(0, from - 1))) this.notify(watcher, change);
    return () => this.watchers.delete(watcher);
  }

  private changed(change: Change): void {
    this.history.push(change);
    for (const watcher of this.watchers) this.notify(watcher, change);
    for (const listener of this.listeners) listener(change);
  }

  private notify(watcher: Watcher, { collection, object, before, removed }: Change): void {
    if (collection !== watcher.collection) return;
    const was = before !== undefined && watcher.matches(before);
    const is = !removed && watcher.matches(object);
    if (!was && !is) return;
    const type = is ? (was ? "MODIFIED" : "ADDED") : "DELETED";
    if (watcher.queue.push(`{"type":"${type}","object":${textOf(object)}}\n`) > 1) return;
    this.time.after(watchDelay, () => {
      const lines = watcher.queue.splice(0);
      if (this.watchers.has(watcher)) watcher.out.write(lines.join(""));
    });
  }
}

const texts = new WeakMap<Stored, string>();

/** An object as JSON, written once: it is read far more often than it is replaced. */
export function textOf(object: Stored): string {
  const text = texts.get(object) ?? JSON.stringify(object);
  texts.set(object, text);
  return text;
}

export function keyOf({ metadata }: { metadata: { name: string; namespace?: string | undefined } }): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

/** JSON merge patch. */
export function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const result: Record<string, unknown> = { ...(isRecord(target) ? target : {}) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) Reflect.deleteProperty(result, key);
    else result[key] = merged(result[key], value);
  }
  return result;
}

/** Strategic merge patch, as far as nodes need it: taints are merged by key. */
export function strategic(target: Stored, patch: Record<string, unknown>): unknown {
  const spec = isRecord(patch.spec) ? patch.spec : {};
  const { taints: changes, ...rest } = spec;
  const result = merged(target, { ...patch, spec: rest }) as Stored;
  if (!Array.isArray(changes)) return result;
  const taints = new Map(((target.spec?.taints ?? []) as Taint[]).map((taint) => [taint.key, taint]));
  for (const { $patch, ...taint } of changes as Taint[]) {
    if ($patch === "delete") taints.delete(taint.key);
    else taints.set(taint.key, taint);
  }
  return { ...result, spec: { ...result.spec, taints: [...taints.values()] } };
}

interface Taint {
  key: string;
  effect?: string;
  $patch?: string;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
