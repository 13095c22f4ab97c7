import { processStat } from "./process-stat.ts";

/** Time between two looks at who our parent is, in milliseconds. */
const lookMs = 500;

/**
 * Tells, once or more often, that the process that started us has gone, or the engine behind it: a killed engine stops
 * neither its plugins nor what they started, and the next run must not meet us.
 * @param what we are, for the message
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
