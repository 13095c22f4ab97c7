/**
 * Images of the updates of a stack, out of the engine's history: what a rollback to each of them would clone. An image
 * that is not seen would be removed, so more is taken than is needed, and what cannot be read makes all of it unknown.
 */

/** An entry of `pulumi stack history --json`, as far as it counts here. */
export interface PastUpdate {
  /** `update`; others (`refresh`, `destroy`, ...) bring no image. */
  kind: string;
  result: string;
  /** ISO 8601. The file backend numbers all entries 0, so the time is their order. */
  endTime: string;
  /** By key. A value that is secret is there without its text. */
  config: Readonly<Record<string, { value?: string; objectValue?: unknown }>>;
}

/** The keys of a stack that name images. Each stack has the first one. */
const HOLDERS = ["evergreen:controlPlane", "evergreen:pools", "evergreen:images"] as const;

/**
 * The images of each update, newest first. Updates that follow each other with the same images are one: a stack that is
 * updated each night would otherwise have forgotten its previous images after as many nights. The images of an update that
 * did not succeed belong to the next older one that did, or stand alone: a rollback does not aim at it, and counts past it.
 * @returns undefined when the images of one of them cannot be read
 */
export function pastImages(history: readonly PastUpdate[]): ReadonlySet<string>[] | undefined {
  const updates = history
    .filter(({ kind }) => kind === "update")
    .toSorted((a, b) => Date.parse(b.endTime) - Date.parse(a.endTime));
  if (updates.some(({ endTime }) => Number.isNaN(Date.parse(endTime)))) return undefined;
  const past: Set<string>[] = [];
  let failed: string[] = [];
  for (const { result, config } of updates) {
    const images = imagesOfConfig(config);
    if (images === undefined) return undefined;
    if (result !== "succeeded") {
      failed.push(...images);
      continue;
    }
    const last = past.at(-1);
    const isRepeated = last !== undefined && [...images].every((image) => last.has(image));
    if (isRepeated) for (const image of failed) last.add(image);
    else past.push(new Set([...images, ...failed]));
    failed = [];
  }
  return failed.length === 0 ? past : [...past, new Set(failed)];
}

/** @returns undefined when a key that names images is secret or has a form that is not known, or when there is no cluster in it */
function imagesOfConfig(config: PastUpdate["config"]): Set<string> | undefined {
  if (!(HOLDERS[0] in config)) return undefined;
  const found = new Set<string>();
  for (const key of HOLDERS.filter((one) => one in config)) {
    const value = valueOf(config[key]);
    if (typeof value !== "object" || value === null || !collect(value, found)) return undefined;
  }
  return found;
}

function valueOf(told: PastUpdate["config"][string] | undefined): unknown {
  if (told?.objectValue !== undefined) return told.objectValue;
  if (told?.value === undefined) return undefined;
  try {
    return JSON.parse(told.value) as unknown;
  } catch {
    return undefined;
  }
}

/** Adds what any `image` below a value says. @returns whether all of them are texts */
function collect(value: unknown, found: Set<string>): boolean {
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([key, inner]: [string, unknown]) => {
    if (key !== "image") return collect(inner, found);
    if (typeof inner !== "string") return false;
    found.add(inner);
    return true;
  });
}
