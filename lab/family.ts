import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { Deadline } from "../src/runtime/deadline.ts";
import { alive, identify, signal, type ProcessId } from "./processes.ts";

/** Longest time that a killed process may take to end, in seconds. */
const patience = 10;

/**
 * Processes that were started with the variables of `env`, and what these have started in turn. They are known by their
 * environment: one that has outlived its parent, or opened a session of its own, belongs to them as well. A process that
 * was started with an environment of its own does not.
 */
export class Family {
  /** Variables to start a process with. */
  readonly env: Readonly<Record<string, string>>;
  private readonly mark: string;

  constructor() {
    const name = `EVERGREEN_FAMILY_${randomUUID().replaceAll("-", "")}`;
    this.env = { [name]: "1" };
    this.mark = `${name}=1`;
  }

  /** The pids of those that run. */
  get pids(): number[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && this.has(name))
      .map(Number);
  }

  /**
   * Kills all of them, until none is left: one that dies may just have started another, and shows its environment no more
   * a moment before it has ended.
   * @throws DeadlineError
   */
  async kill(): Promise<void> {
    const told = new Map<number, ProcessId>();
    const left = () => [...told.values()].filter(alive).map(({ pid }) => pid);
    await new Deadline("the processes to end", patience).poll(
      20,
      () => {
        const { pids } = this;
        for (const pid of pids) {
          told.set(pid, identify(pid));
          signal(pid, "SIGKILL");
        }
        return Promise.resolve(pids.length === 0 && left().length === 0 ? true : undefined);
      },
      () => `processes ${left().join(", ")}`,
    );
  }

  private has(pid: string): boolean {
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(this.mark);
    } catch {
      // It has ended, or is somebody else's.
      return false;
    }
  }
}
