import { readFileSync } from "node:fs";

/** Time between two looks at who our parent is, in milliseconds. */
const lookMs = 500;

/**
 * Tells, once or more often, that the process that started us has gone, or the engine behind it: a killed engine stops
 * neither its plugins nor what they started, and the next run must not meet us.
 * @param what we are, for the message
 */
export function whenAbandoned(what: string, tell: (why: string) => void): void {
  const parent = process.ppid;
  const engine = parentOf(parent);
  const look = setInterval(() => {
    if (process.ppid !== parent) tell(`the process that started this ${what} has ended`);
    else if (engine !== undefined && parentOf(parent) !== engine)
      tell(`the engine that this ${what} works for has ended`);
  }, lookMs);
  look.unref();
}

/** The parent of a process; undefined where there is no /proc that says it. */
function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}
