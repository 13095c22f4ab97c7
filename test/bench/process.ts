import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { identify, sessionOf } from "../../lab/processes.ts";
import { CpuSampler, type CpuSeconds } from "./cpu.ts";

export interface Measured {
  seconds: number;
  /** Memory of the command and all that it started, at its largest. */
  peakMemoryBytes: number;
  cpu: CpuSeconds;
  output: string;
}

const SAMPLE_MS = 200;

/** Runs a command in a session of its own and measures all of it. @throws Error with its output when it fails */
export async function measured(
  program: string,
  args: readonly string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
): Promise<Measured> {
  const cpu = new CpuSampler();
  const began = performance.now();
  const child = spawn(program, args, { ...options, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const session = identify(child.pid ?? 0);
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  let peak = 0;
  const timer = setInterval(() => {
    const pids = sessionOf(session);
    peak = Math.max(peak, memoryOf(pids));
    cpu.sample(pids);
  }, SAMPLE_MS);
  const [code] = (await once(child, "close")) as [number | null];
  clearInterval(timer);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}:\n${output}`);
  return { seconds: (performance.now() - began) / 1000, peakMemoryBytes: peak, cpu: cpu.spent(), output };
}

/** Bytes of memory that these processes use; a page that several of them share is divided between them. */
function memoryOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    try {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      return sum + Number(/^Pss: +(\d+) kB$/m.exec(rollup)?.[1] ?? 0) * 1024;
    } catch {
      return sum;
    }
  }, 0);
}
