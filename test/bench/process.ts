import { spawn } from "node:child_process";
import { once } from "node:events";
import { identify, memoryOf, sessionOf } from "../../lab/processes.ts";

export interface Measured {
  seconds: number;
  /** Memory of the command and all that it started, at its largest. */
  peakMemoryBytes: number;
  output: string;
}

const SAMPLE_MS = 500;

/** Runs a command in a session of its own and measures all of it. @throws Error with its output when it fails */
export async function measured(
  program: string,
  args: readonly string[],
  options: { cwd: string; env: NodeJS.ProcessEnv },
): Promise<Measured> {
  const began = performance.now();
  const child = spawn(program, args, { ...options, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const session = identify(child.pid ?? 0);
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  let peak = 0;
  const timer = setInterval(() => (peak = Math.max(peak, memoryOf(sessionOf(session)))), SAMPLE_MS);
  const [code] = (await once(child, "close")) as [number | null];
  clearInterval(timer);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${code}:\n${output}`);
  return { seconds: (performance.now() - began) / 1000, peakMemoryBytes: peak, output };
}
