/** `setpriv` of util-linux, which starts the lab's programs so that they end with the lab even when it is killed. */
import { spawnSync } from "node:child_process";
import { type Problem, UserError } from "../src/runtime/errors.ts";

/** Ends a program when the thread that started it ends, even by SIGKILL. */
const deathSignal = ["--pdeathsig", "KILL"];

export const noSetpriv: Problem = {
  what: "setpriv is missing: without it the programs of a lab that is killed would run on",
  where: "no program `setpriv` on PATH that knows --pdeathsig",
  todo: "install util-linux 2.33 or newer; the setpriv of BusyBox is not enough",
};

/** @returns the version of setpriv; undefined when none is on PATH, or when it does not support `--pdeathsig` */
export function setprivVersion(): string | undefined {
  const { status, stdout } = spawnSync("setpriv", [...deathSignal, "--version"], { encoding: "utf8", timeout: 20_000 });
  return status === 0 ? (/[\d.]+\d/.exec(stdout)?.[0] ?? "?") : undefined;
}

/** @throws UserError where a lab would leave processes behind after a crash */
export function requireSetpriv(): void {
  if (setprivVersion() === undefined) throw new UserError(noSetpriv);
}

/** The command that starts a program so that it ends with the thread that started it. */
export function endingWithParent(command: string, args: readonly string[]): [command: string, args: string[]] {
  return ["setpriv", [...deathSignal, "--", command, ...args]];
}
