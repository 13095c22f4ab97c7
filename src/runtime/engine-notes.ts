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
 * What this machine remembers of the engines that it has run, a file each, until the next boot. An engine's lock in a backend
 * names a host and a pid, which another container may have too; and a step has to know whether its engine had the cluster's
 * lease before.
 */

/** An engine that ran here. */
interface EngineNote extends ProcessIdentity {
  /** When it was first noted, in milliseconds since the epoch. */
  since: number;
  /** It had the lease of an update. */
  held: boolean;
}

const keptMs = 7 * 24 * 3600 * 1000;
/** An engine takes its lock a moment after it was noted, in milliseconds; or a prompt before, and is noted again. */
const slackMs = 60_000;

/** Notes that an engine runs, or runs on. */
export function noteEngine(engine: ProcessIdentity): void {
  const file = fileOf(engine);
  if (existsSync(file)) utimesSync(file, new Date(), new Date());
  else write({ ...engine, since: Date.now(), held: false });
}

/** Notes that an engine has the lease of an update: one that is not there any more was lost. */
export function noteHeld(engine: ProcessIdentity): void {
  write({ ...engine, since: read(fileOf(engine))?.since ?? Date.now(), held: true });
}

export function hasHeld(engine: ProcessIdentity): boolean {
  return read(fileOf(engine))?.held === true;
}

/**
 * The engine that ran here with this pid when a lock was taken.
 * @param taken milliseconds since the epoch
 */
export function notedEngine(pid: number, taken: number): ProcessIdentity | undefined {
  return readdirSync(directory())
    .filter((name) => name.startsWith(`${pid}.`) && name.endsWith(".json"))
    .map((name) => join(directory(), name))
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

function write(note: EngineNote): void {
  for (const name of readdirSync(directory())) {
    const file = join(directory(), name);
    const seen = statSync(file, { throwIfNoEntry: false });
    if (seen && Date.now() - seen.mtimeMs > keptMs) rmSync(file, { force: true });
  }
  // Renamed into place: two steps may write it while a third one reads.
  const draft = `${fileOf(note)}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(note), { mode: 0o600 });
  renameSync(draft, fileOf(note));
}

function fileOf({ pid, start, scope }: ProcessIdentity): string {
  return join(directory(), `${pid}.${start}.${scope}.json`);
}

/** Of this user alone. */
function directory(): string {
  const path = join(tmpdir(), `evergreen-engines-${process.getuid?.() ?? "nobody"}`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}
