import { readdirSync, readFileSync } from "node:fs";
import { Deadline } from "../../src/runtime/deadline.ts";

/** A process as the kernel shows it. */
interface Process {
  pid: number;
  parent: number;
  /** Arguments, separated by blanks. */
  command: string;
}

function processes(): Process[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name): Process[] => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        if (state === "Z") return [];
        const command = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ");
        return [{ pid: Number(name), parent: Number(parent), command }];
      } catch {
        return [];
      }
    });
}

/** Everything that a process started, and what that started. */
export function offspring(root: number): Process[] {
  const all = processes();
  const found: Process[] = [];
  for (let generation = [root]; generation.length > 0;) {
    const children = all.filter(({ parent }) => generation.includes(parent));
    found.push(...children);
    generation = children.map(({ pid }) => pid);
  }
  return found;
}

/** The process below `root` whose command matches, once there is one. */
export async function processBelow(root: number, command: RegExp, seconds = 30): Promise<number> {
  return await new Deadline(`a process ${command.source}`, seconds).poll(
    20,
    () => Promise.resolve(offspring(root).find((one) => command.test(one.command))?.pid),
    () => commandsBelow(root),
  );
}

/** Kills a process below `root` whose command matches, as soon as there is one: a run first waits for the leases of the dead. */
export async function killBelow(root: number, command: RegExp, seconds = 90): Promise<void> {
  await new Deadline(`a process ${command.source} to be killed`, seconds).poll(
    5,
    () => {
      const found = offspring(root).find((one) => command.test(one.command));
      return Promise.resolve(found && send(found.pid, "SIGKILL") ? true : undefined);
    },
    () => commandsBelow(root),
  );
}

const commandsBelow = (root: number): string =>
  offspring(root)
    .map(({ command }) => command)
    .join("\n");

/** The environment that a process was started with. */
export function environmentOf(pid: number): Record<string, string> {
  const entries = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  return Object.fromEntries(
    entries
      .filter((entry) => entry.includes("="))
      .map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]),
  );
}

/** Waits until processes have ended. */
export async function ended(pids: readonly number[], seconds = 30): Promise<void> {
  const left = () => processes().filter(({ pid }) => pids.includes(pid));
  await new Deadline("processes to end", seconds).poll(
    50,
    () => Promise.resolve(left().length === 0 ? true : undefined),
    () =>
      left()
        .map(({ command }) => command)
        .join("\n"),
  );
}

/** Kills a process and everything below it at one moment: none of them sees another one die. */
export async function killTree(root: number): Promise<void> {
  const stopped = new Set<number>();
  // Whoever is stopped starts nobody any more.
  for (let found = [root]; found.length > 0;) {
    for (const pid of found) {
      send(pid, "SIGSTOP");
      stopped.add(pid);
    }
    found = offspring(root).flatMap(({ pid }) => (stopped.has(pid) ? [] : [pid]));
  }
  for (const pid of stopped) send(pid, "SIGKILL");
  await ended([...stopped]);
}

/** False when it had ended before. */
function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** Ends what is left of some processes. */
export function end(pids: readonly number[]): void {
  for (const { pid } of processes()) if (pids.includes(pid)) process.kill(pid, "SIGKILL");
}
