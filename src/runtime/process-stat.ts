import { readFileSync } from "node:fs";

/** The state of a process, as the kernel of this machine reports it. */
export interface ProcessStat {
  pid: number;
  parent: number;
  session: number;
  /** Clock ticks from boot to the start of the process. */
  start: number;
  /**
   * The process has ended, but its parent has not reaped it: without an init in the container it stays a zombie
   * permanently.
   */
  zombie: boolean;
}

/** @returns undefined when there is no such process, or no /proc that shows it */
export function processStat(pid: number): ProcessStat | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses, with any characters; proc(5) counts fields from 1.
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
