import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Deadline } from "../../src/runtime/deadline.ts";
import { processStat } from "../../src/runtime/process-stat.ts";

/**
 * Makes a process that has ended and that its parent never reaps.
 * @returns its pid, its parent's pid, and a function that ends both
 */
export async function makeZombie(): Promise<{ pid: number; parent: number; end: () => void }> {
  const shell = spawn("sh", ["-c", "sleep 60 & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "inherit"] });
  const parent = shell.pid ?? 0;
  const [said] = (await once(shell.stdout, "data")) as [Buffer];
  const pid = Number(said.toString());
  const poll = async (what: string, is: () => boolean) =>
    await new Deadline(what, 30).poll(20, () => Promise.resolve(is() ? true : undefined));
  // A shell reaps its children; the program that replaces it by `exec` does not.
  await poll("the shell to become another", () => readFileSync(`/proc/${parent}/comm`, "utf8") === "sleep\n");
  process.kill(pid, "SIGKILL");
  await poll(`process ${pid} to end`, () => processStat(pid)?.zombie === true);
  return { pid, parent, end: () => shell.kill("SIGKILL") };
}
