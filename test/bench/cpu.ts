/** CPU time of a command and of all that it started, as the kernel counts it: another load of the machine does not blur it. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";

/** Seconds of CPU time, user and system. */
export interface CpuSeconds {
  /** Exact: the kernel adds a process to its parent when the parent has waited for it. Lease keepers live on and are not in it. */
  total: number;
  /** By who spent it, from samples; the program is what remains, with what the others spent after their last sample. */
  parts: Record<Part, number>;
}

export const parts = ["engine", "plugins", "program", "steps"] as const;
type Part = (typeof parts)[number];

/** The unit of /proc, which Linux shows to programs as 100 ticks a second on every architecture (proc_pid_stat(5)). */
const TICKS_PER_SECOND = 100;

interface Times {
  /** Of the process itself. */
  own: number;
  /** Of its children that have ended and were waited for, and of theirs. */
  waited: number;
}

/** @returns undefined when there is no such process */
export function timesOf(pid: number | "self"): Times | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const field = (number: number) => Number(fields[number - 3]) / TICKS_PER_SECOND;
    return { own: field(14) + field(15), waited: field(16) + field(17) };
  } catch {
    return undefined;
  }
}

/** What is known of one process: the last sample of it. */
interface Sampled extends Times {
  kind: Kind;
}

type Kind = "engine" | "plugin" | "command plugin" | "other";

/** Adds up who spent the time, from samples of the processes of one command. */
export class CpuSampler {
  private readonly seen = new Map<number, Sampled>();
  private readonly before = timesOf("self")?.waited ?? 0;

  sample(pids: readonly number[]): void {
    for (const pid of pids) {
      const times = timesOf(pid);
      if (times) this.seen.set(pid, { ...times, kind: kindOf(pid) });
    }
  }

  /** To be asked when the command has ended. */
  spent(): CpuSeconds {
    const total = (timesOf("self")?.waited ?? 0) - this.before;
    const sum = (kinds: Kind[], time: keyof Times) =>
      [...this.seen.values()].filter(({ kind }) => kinds.includes(kind)).reduce((all, one) => all + one[time], 0);
    const ofParts: CpuSeconds["parts"] = {
      engine: sum(["engine"], "own"),
      plugins: sum(["plugin", "command plugin"], "own"),
      program: 0,
      steps: sum(["command plugin"], "waited"),
    };
    // The program's host may end with it, before a sample has seen that it waited for it.
    const known = ofParts.engine + ofParts.plugins + ofParts.steps;
    return { total, parts: { ...ofParts, program: Math.max(0, total - known) } };
  }
}

/** A plugin may be a program of its own, or a script that an interpreter runs. */
function kindOf(pid: number): Kind {
  const [program = "", script = ""] = argumentsOf(pid);
  if (basename(program) === "pulumi") return "engine";
  if (`${program} ${script}`.includes("resource-command")) return "command plugin";
  return /pulumi-(resource|language)-|plugins\/resource-/.test(`${program} ${script}`) ? "plugin" : "other";
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}
