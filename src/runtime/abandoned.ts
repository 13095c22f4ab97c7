import { processStat } from "./process-stat.ts";

/** Interval between two checks of the parent process, in milliseconds. */
const lookMs = 500;

/**
 * Reports, once or repeatedly, that the parent process or the engine behind it has ended. A killed engine stops neither
 * its plugins nor the processes that they started, and none of these may still run when the next run starts.
 * @param what what this process is, for the message
 */
export function whenAbandoned(what: string, tell: (why: string) => void): void {
  const parent = process.ppid;
  const engine = processStat(parent)?.parent;
  const look = setInterval(() => {
    if (process.ppid !== parent) tell(`the process that started this ${what} has ended`);
    else if (engine !== undefined && processStat(parent)?.parent !== engine)
      tell(`the engine that this ${what} works for has ended`);
  }, lookMs);
  look.unref();
}
