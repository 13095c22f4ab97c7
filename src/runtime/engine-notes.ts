import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ProcessIdentity } from "./process-identity.ts";

/*
 * Notes of this machine about the engines that it has run: one file for each engine, and for each cluster that it has
 * updated, valid until the next boot. The lock of an engine in a backend names only a host and a pid, which another
 * container may have too. A step has to know whether its engine held the cluster's lease before, and whether its engine's
 * program declares the cluster.
 */

/** An engine that ran on this machine. */
interface EngineNote extends ProcessIdentity {
  /** When the engine was first noted, in milliseconds since the epoch. */
  since: number;
}

const keptMs = 7 * 24 * 3600 * 1000;
/**
 * Tolerance between an engine's lock and its notes, in milliseconds: the lock may precede the first note or follow the
 * last one. An engine that has waited at a prompt is noted again.
 */
const slackMs = 60_000;

/** Notes that an engine runs or still runs. */
export function noteEngine(engine: ProcessIdentity): void {
  const file = fileOf(engine);
  if (existsSync(file)) {
    utimesSync(file, new Date(), new Date());
    return;
  }
  write(file, { ...engine, since: Date.now() });
  removeOld();
}

/**
 * Notes that an engine holds the lease of a cluster's update: if the lease is missing later, it was lost. An engine can
 * update several clusters, each with a lease of its own, so each has a file of its own: steps note it side by side.
 */
export function noteHeld(engine: ProcessIdentity, cluster: string): void {
  noteEngine(engine);
  write(heldFileOf(engine, cluster), engine);
}

export function hasHeld(engine: ProcessIdentity, cluster: string): boolean {
  return existsSync(heldFileOf(engine, cluster));
}

/** Notes that the program of an engine declares a cluster: whatever this engine deletes, that cluster stays. */
export function noteDeclared(engine: ProcessIdentity, cluster: string): void {
  write(declaredFileOf(engine, cluster), engine);
}

export function hasDeclared(engine: ProcessIdentity, cluster: string): boolean {
  return existsSync(declaredFileOf(engine, cluster));
}

/**
 * The engine that ran on this machine with this pid when a lock was taken.
 * @param taken milliseconds since the epoch
 */
export function notedEngine(pid: number, taken: number): ProcessIdentity | undefined {
  const folder = directory();
  return readdirSync(folder)
    .filter((name) => name.startsWith(`${pid}.`) && name.endsWith(".json"))
    .map((name) => join(folder, name))
    .flatMap((file) => {
      const note = read(file);
      const seen = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
      return note && taken > note.since - slackMs && taken < seen + slackMs ? [note] : [];
    })
    .at(-1);
}

function read(file: string): EngineNote | undefined {
  if (!existsSync(file)) return undefined;
  return JSON.parse(readFileSync(file, "utf8")) as EngineNote;
}

/** Once for each engine is enough: a machine that runs many has hundreds of notes. */
function removeOld(): void {
  const folder = directory();
  for (const name of readdirSync(folder)) {
    const old = join(folder, name);
    const seen = statSync(old, { throwIfNoEntry: false });
    if (seen && Date.now() - seen.mtimeMs > keptMs) rmSync(old, { force: true });
  }
}

function write(file: string, note: ProcessIdentity | EngineNote): void {
  // Renamed into place: two steps may write the file while a third one reads it.
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(note), { mode: 0o600 });
  renameSync(draft, file);
}

function fileOf({ pid, start, scope }: ProcessIdentity): string {
  return join(directory(), `${pid}.${start}.${scope}.json`);
}

function heldFileOf({ pid, start, scope }: ProcessIdentity, cluster: string): string {
  return join(directory(), `${pid}.${start}.${scope}.${cluster}.held`);
}

function declaredFileOf({ pid, start, scope }: ProcessIdentity, cluster: string): string {
  return join(directory(), `${pid}.${start}.${scope}.${cluster}.declared`);
}

/** Private to this user. */
function directory(): string {
  const path = join(tmpdir(), `evergreen-engines-${process.getuid?.() ?? "nobody"}`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}
