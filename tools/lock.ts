import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { dirname } from "node:path";
import { Deadline } from "../src/runtime/deadline.ts";
import { bootId, pidNamespace } from "../src/runtime/process-identity.ts";
import { running } from "../src/runtime/process-stat.ts";

/** The process that holds a lock. */
export interface Owner {
  pid: number;
  /** Start time of the process in clock ticks after boot: a pid can be reused, a pid with its start time cannot. */
  started: string;
  /** Id of the machine's boot. */
  boot: string;
  /** The pid namespace: a pid means nothing in another container. */
  namespace: string;
  /** What the holder does, shown to processes that wait. */
  what: string;
  since: string;
}

const HEARTBEAT_MS = 5000;
const SILENT_MS = 60_000;

/**
 * Runs `work` while it holds the lock `file`. Other processes wait; the lock of a dead process is broken.
 * @param what what this process does while it holds the lock
 * @param waiting called once for every holder that is waited for
 * @param seconds longest wait; default 30 minutes, which is longer than any set-up with empty caches
 */
export async function locked<T>(
  file: string,
  what: string,
  waiting: (owner: Owner) => void,
  work: () => Promise<T>,
  seconds = 1800,
): Promise<T> {
  const own = ownerOf(process.pid, what);
  const deadline = new Deadline(`the lock ${file}`, seconds);
  let told = "";
  let holder: Owner | undefined;
  await deadline.poll(
    200,
    () => {
      if (take(file, own)) return Promise.resolve(true);
      holder = read(file);
      if (holder && isDead(holder, file)) breakLock(file, own);
      else if (holder && told !== identity(holder)) {
        told = identity(holder);
        waiting(holder);
      }
      return Promise.resolve(undefined);
    },
    () => (holder ? `process ${holder.pid}, which ${holder.what} since ${holder.since}` : ""),
  );
  const heartbeat = setInterval(() => touch(file), HEARTBEAT_MS).unref();
  try {
    return await work();
  } finally {
    clearInterval(heartbeat);
    const now = read(file);
    if (now && identity(now) === identity(own)) rmSync(file, { force: true });
  }
}

/** Creates the lock with its content in one operation: an empty lock file would name no owner. */
function take(file: string, owner: Owner): boolean {
  mkdirSync(dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  writeFileSync(draft, JSON.stringify(owner));
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/**
 * Removes the lock of a dead holder. Two processes that find the same dead holder must not both remove the file: the
 * second would remove the new lock of the first.
 */
function breakLock(file: string, own: Owner): void {
  const hammer = `${file}.break`;
  if (!take(hammer, own)) {
    const other = read(hammer);
    if (other && isDead(other, hammer)) rmSync(hammer, { force: true });
    return;
  }
  try {
    const holder = read(file);
    if (holder && isDead(holder, file)) rmSync(file, { force: true });
  } finally {
    rmSync(hammer, { force: true });
  }
}

function read(file: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Owner;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function touch(file: string): void {
  try {
    utimesSync(file, new Date(), new Date());
  } catch {
    // The file was removed manually: the work continues, and another process may hold the lock now, so it is not
    // restored.
  }
}

function identity(owner: Owner): string {
  return [owner.boot, owner.namespace, owner.pid, owner.started].join(" ");
}

function isDead(owner: Owner, file: string): boolean {
  const here = ownerOf(process.pid, "");
  if (owner.boot === here.boot && owner.namespace === here.namespace) return startTime(owner.pid) !== owner.started;
  // In another container or boot: the process cannot be seen, but its heartbeat can.
  const seen = statSync(file, { throwIfNoEntry: false });
  return seen !== undefined && Date.now() - seen.mtimeMs > SILENT_MS;
}

function ownerOf(pid: number, what: string): Owner {
  return {
    pid,
    started: startTime(pid) ?? "",
    boot: bootId(),
    namespace: pidNamespace(),
    what,
    since: new Date().toISOString(),
  };
}

/** Undefined when there is no such process. */
function startTime(pid: number): string | undefined {
  if (!existsSync("/proc/self/stat")) return withoutProc(pid);
  return running(pid)?.start.toString();
}

/** Without /proc there is no start time, and only the pid is checked. */
function withoutProc(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
    return "";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM" ? "" : undefined;
  }
}
