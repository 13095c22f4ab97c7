/** Identifies processes, so that signals are sent to our own only: a pid alone is reused. */
import { readdirSync, readFileSync } from "node:fs";
import { processStat, running } from "../src/runtime/process-stat.ts";

/** The identity of a process. */
export interface ProcessId {
  pid: number;
  /** Start time in clock ticks since boot. */
  start: number;
  /** Id of the machine's boot. */
  boot: string;
}

const bootId = () => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

export function identify(pid: number): ProcessId {
  return { pid, start: processStat(pid)?.start ?? 0, boot: bootId() };
}

/** True when exactly that process still runs. */
export function alive(id: ProcessId): boolean {
  const now = running(id.pid);
  return now?.start === id.start && id.boot === bootId();
}

/**
 * Processes of the session that `leader` opened, itself included, also after its death: the kernel does not reuse a
 * pid while a session of that number exists.
 */
export function sessionOf(leader: ProcessId): number[] {
  if (leader.boot !== bootId()) return [];
  const holder = processStat(leader.pid);
  if (holder !== undefined && holder.start !== leader.start) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => running(Number(name)))
    .filter((found) => found !== undefined)
    .filter(({ session, start }) => session === leader.pid && start >= leader.start)
    .map(({ pid }) => pid);
}

/** Sends a signal; a process that has already ended is ignored. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Bytes of memory that these processes use; shared pages count once for each process. */
export function memoryOf(pids: readonly number[]): number {
  const page = 4096;
  return pids.reduce((sum, pid) => {
    try {
      return sum + Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * page;
    } catch {
      return sum;
    }
  }, 0);
}
