import { spawn } from "node:child_process";
import { once } from "node:events";
import { Deadline } from "../../common/deadline.ts";
import { processStat } from "../../common/process-stat.ts";

/** Makes a process that has ended and whose parent never asks for it. @returns its pid, its parent's, and what ends both */
export async function makeZombie(): Promise<{ pid: number; parent: number | undefined; end: () => void }> {
  // The shell's child ends, and what the shell becomes asks for nobody.
  const parent = spawn("sh", ["-c", "true & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "inherit"] });
  const [said] = (await once(parent.stdout, "data")) as [Buffer];
  const pid = Number(said.toString());
  const ended = () => Promise.resolve(processStat(pid)?.zombie === true ? true : undefined);
  await new Deadline(`process ${pid} to end`, 5).poll(20, ended);
  return { pid, parent: parent.pid, end: () => parent.kill("SIGKILL") };
}
