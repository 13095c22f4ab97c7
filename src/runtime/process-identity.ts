import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { userInfo } from "node:os";
import { processStat, running } from "./process-stat.ts";

/** A process, told from every other: a pid alone is another one in another container, after a reboot, or a day later. */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks from boot to its start. */
  start: number;
  /** Where its pid counts: this boot of this machine, and this pid namespace. Empty where that cannot be known. */
  scope: string;
}

/** `unknown`: it runs, or ran, where its pid says nothing to us. That is not dead. */
export type Life = "alive" | "dead" | "unknown";

export function identify(pid: number): ProcessIdentity | undefined {
  const found = running(pid);
  return found && { pid, start: found.start, scope: scopeHere() };
}

/** The engine behind a program or a step: it starts a language host or a plugin, and that starts us. */
export function engineBehind(): ProcessIdentity | undefined {
  const engine = processStat(process.ppid)?.parent;
  return engine === undefined ? undefined : identify(engine);
}

export function lifeOf({ pid, start, scope }: ProcessIdentity): Life {
  if (scope === "" || scope !== scopeHere()) return "unknown";
  return running(pid)?.start === start ? "alive" : "dead";
}

/** Who we are, for a reader. A container may run as a user that its /etc/passwd does not name. */
export const userName = (): string => attempt(() => userInfo().username) || `uid-${process.getuid?.() ?? "unknown"}`;

/** This boot of this machine: empty where it cannot be read. */
export const bootId = (): string => attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim());

/** The pid namespace of this process: empty where it cannot be read. */
export const pidNamespace = (): string => attempt(() => readlinkSync("/proc/self/ns/pid"));

function scopeHere(): string {
  // A /proc of another pid namespace knows us by another pid, and others by ours.
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
