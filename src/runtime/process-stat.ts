import { readFileSync } from "node:fs";

/** What the kernel of this machine says of a process. */
export interface ProcessStat {
  pid: number;
  parent: number;
  session: number;
  /** Clock ticks since boot. */
  start: number;
  /** It has ended, and nobody has asked how: in a container without an init it stays like that for ever. */
  zombie: boolean;
}

/** Undefined: there is no such process, or no /proc that says so. */
export function processStat(pid: number): ProcessStat | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses and may hold anything; proc(5) counts from 1.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const field = (number: number) => Number(fields[number - 4]);
    return { pid, parent: field(4), session: field(6), start: field(22), zombie: state === "Z" };
  } catch {
    return undefined;
  }
}

/** The process, unless it has ended. */
export function running(pid: number): ProcessStat | undefined {
  const found = processStat(pid);
  return found?.zombie === true ? undefined : found;
}
