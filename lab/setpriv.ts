/** `setpriv` of util-linux: the lab's programs are started under it, so that they end with the lab even when it is killed. */
import { spawnSync } from "node:child_process";
import { type Problem, UserError } from "../src/runtime/errors.ts";

/** Ends what follows when the thread that starts it ends, even by SIGKILL. */
const deathSignal = ["--pdeathsig", "KILL"];

export const noSetpriv: Problem = {
  what: "setpriv is missing: without it the programs of a lab that is killed would run on",
  where: "no program `setpriv` on PATH that knows --pdeathsig",
  todo: "install util-linux 2.33 or newer; the setpriv of BusyBox is not enough",
};

/** @returns its version; undefined when there is none on PATH, or one that cannot do this */
export function setprivVersion(): string | undefined {
  const { status, stdout } = spawnSync("setpriv", [...deathSignal, "--version"], { encoding: "utf8", timeout: 20_000 });
  return status === 0 ? (/[\d.]+\d/.exec(stdout)?.[0] ?? "?") : undefined;
}

/** @throws UserError where a lab would leave processes after a crash */
export function requireSetpriv(): void {
  if (setprivVersion() === undefined) throw new UserError(noSetpriv);
}

/** What to start so that a program ends with the thread that starts it. */
export function endingWithParent(command: string, args: readonly string[]): [command: string, args: string[]] {
  return ["setpriv", [...deathSignal, "--", command, ...args]];
}
