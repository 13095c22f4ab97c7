import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { userInfo } from "node:os";
import { processStat, running } from "./process-stat.ts";

/**
 * The identity of a process. A pid alone may name another process in another container, after a reboot, or a day later.
 */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks from boot to the start of the process. */
  start: number;
  /** Where the pid is valid: this boot of this machine, and this pid namespace. Empty when that cannot be read. */
  scope: string;
}

/** `unknown`: the process runs, or ran, where its pid has no meaning for us. That does not mean dead. */
export type Life = "alive" | "dead" | "unknown";

export function identify(pid: number): ProcessIdentity | undefined {
  const found = running(pid);
  return found && { pid, start: found.start, scope: scopeHere() };
}

/** The engine behind a program or a step: the engine starts a language host or a plugin, which starts this process. */
export function engineBehind(): ProcessIdentity | undefined {
  const engine = processStat(process.ppid)?.parent;
  return engine === undefined ? undefined : identify(engine);
}

export function lifeOf({ pid, start, scope }: ProcessIdentity): Life {
  if (scope === "" || scope !== scopeHere()) return "unknown";
  return running(pid)?.start === start ? "alive" : "dead";
}

/**
 * Name of the user that runs this process, for a reader. A container may run as a user that is not in its /etc/passwd.
 */
export const userName = (): string => attempt(() => userInfo().username) || `uid-${process.getuid?.() ?? "unknown"}`;

/** Id of this boot of this machine; empty when it cannot be read. */
export const bootId = (): string => attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim());

/** The pid namespace of this process; empty when it cannot be read. */
export const pidNamespace = (): string => attempt(() => readlinkSync("/proc/self/ns/pid"));

function scopeHere(): string {
  // A /proc that belongs to another pid namespace shows other pids than those of this process's namespace.
  if (attempt(() => readlinkSync("/proc/self")) !== String(process.pid)) return "";
  const [boot, namespace] = [bootId(), pidNamespace()];
  if (boot === "" || namespace === "") return "";
  const machine = attempt(() => readFileSync("/etc/machine-id", "utf8").trim());
  return createHash("sha256").update([machine, boot, namespace].join("\n")).digest("hex").slice(0, 16);
}

function attempt(look: () => string): string {
  try {
    return look();
  } catch {
    return "";
  }
}
