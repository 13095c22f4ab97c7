import { templateNameOf, type ImageDefinition, type ImageFile } from "./definition.ts";

/*
 * The difference of two definitions, entry by entry: no entry differs exactly when their digests are equal. What packages
 * change is not in it, only what decides that: the base image and the archive's date.
 */

/** What a change is about, in the order in which it is shown. */
export const AREAS = [
  "definition",
  "base",
  "archive",
  "packages",
  "hold",
  "disk",
  "rke2",
  "artefacts",
  "kernel",
  "sysctl",
  "hardening",
  "ssh",
  "services",
  "files",
  "scripts",
  "order",
  "tests",
] as const;
export type Area = (typeof AREAS)[number];

/** One entry that differs. Without `before` it was added, without `after` it was removed. */
export interface Change {
  area: Area;
  /** What it is within the area: a package, a path, a setting. */
  entry: string;
  before?: string;
  after?: string;
}

/** The difference between two definitions. */
export interface ImageDiff {
  /** Names of the templates. */
  from: string;
  to: string;
  changes: readonly Change[];
}

/** What turns the definition `from` into `to`. */
export function diffOf(from: ImageDefinition, to: ImageDefinition): ImageDiff {
  const [before, after] = [entriesOf(from), entriesOf(to)];
  const changes = AREAS.flatMap((area) => changesOf(area, before[area], after[area]));
  return { from: templateNameOf(from), to: templateNameOf(to), changes };
}

type Entries = ReadonlyMap<string, string>;

function changesOf(area: Area, before: Entries, after: Entries): Change[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].toSorted();
  return names.flatMap((entry) => {
    const [old, now] = [before.get(entry), after.get(entry)];
    if (old === now) return [];
    return [
      { area, entry, ...(old === undefined ? {} : { before: old }), ...(now === undefined ? {} : { after: now }) },
    ];
  });
}

/** A definition as entries with values. What has no value has the value "". */
function entriesOf(definition: ImageDefinition): Record<Area, Entries> {
  const { name, version, base, archiveDate, packages, hold, rke2, kernel, services } = definition;
  return {
    definition: new Map(Object.entries({ name, version })),
    base: new Map(Object.entries({ ...base })),
    archive: new Map([["archiveDate", archiveDate]]),
    packages: names(packages),
    hold: names(hold),
    disk: new Map([["diskGiB", String(definition.diskGiB)]]),
    rke2: new Map([["version", rke2.version], ...rke2.cni.map((cni): [string, string] => [`cni ${cni}`, ""])]),
    artefacts: new Map(rke2.artefacts.map(({ file, sha256 }) => [file, sha256])),
    kernel: new Map([
      ...inOrder("(parameters)", kernel.parameters),
      ...kernel.modules.map((module): [string, string] => [`module ${module}`, ""]),
    ]),
    sysctl: new Map(Object.entries(definition.sysctl)),
    hardening: new Map([["hardening", definition.hardening]]),
    ssh: new Map([["ssh", String(definition.ssh)]]),
    services: new Map([
      ...services.enable.map((unit): [string, string] => [`enable ${unit}`, ""]),
      ...services.mask.map((unit): [string, string] => [`mask ${unit}`, ""]),
    ]),
    files: files(definition.files),
    scripts: files(definition.scripts),
    order: new Map(
      inOrder(
        "scripts",
        definition.scripts.map(({ path }) => path),
      ),
    ),
    tests: files(definition.tests),
  };
}

const names = (list: readonly string[]): Entries => new Map(list.map((name) => [name, ""]));

const files = (list: readonly ImageFile[]): Entries =>
  new Map(list.map(({ path, mode, sha256 }) => [path, `${mode} ${sha256}`]));

/** A list whose order counts, as one entry. An empty one has none. */
const inOrder = (entry: string, list: readonly string[]): [string, string][] =>
  list.length === 0 ? [] : [[entry, list.join(" ")]];

/** The difference as lines of text: `+` was added, `-` removed, `~` changed. */
export function diffLines({ from, to, changes }: ImageDiff): string[] {
  if (changes.length === 0) return [`${from} and ${to} are equal`];
  const head = `${from} -> ${to}: ${changes.length} ${changes.length === 1 ? "difference" : "differences"}`;
  const areas = Map.groupBy(changes, ({ area }) => area);
  return [head, ...[...areas].flatMap(([area, those]) => [area, ...those.map((change) => `  ${lineOf(change)}`)])];
}

function lineOf({ entry, before, after }: Change): string {
  const value = (text: string): string => (text === "" ? entry : `${entry}: ${shortened(text)}`);
  if (before === undefined) return `+ ${value(after ?? "")}`;
  if (after === undefined) return `- ${value(before)}`;
  return `~ ${entry}: ${shortened(before)} -> ${shortened(after)}`;
}

/** Digests as far as a reader compares them; the JSON has all of them. */
const shortened = (text: string): string => text.replaceAll(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1");
