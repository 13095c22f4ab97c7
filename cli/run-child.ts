import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";

/** How a child program ended. */
export interface ExitResult {
  /** Its exit code, or 128 plus the number of the signal that ended it. */
  code: number;
  /** The first signal that this process got. After it the caller must stop, as the operator asked for. */
  told: NodeJS.Signals | undefined;
}

/** The signal that is passed on for each signal. SIGHUP would end the engine as abruptly as SIGKILL. */
const asTold = { SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" } as const;

/**
 * How long a repeated signal counts as the same signal, in milliseconds. `timeout` signals a process and then its
 * group, and npx and the launcher pass signals on. A second signal ends the engine at once, so it must be intended.
 */
const echoMs = 2_000;

export interface SpawnMode {
  /** Working directory. @default that of this process */
  cwd?: string;
  /**
   * Whether the program asks the operator: it then gets the terminal, and with it the terminal's Ctrl-C.
   * @default false
   */
  asks?: boolean;
  /** Called with the program's pid as soon as it runs. */
  started?: (pid: number | undefined) => void;
}

/**
 * Runs a program to its end, shows its output as it comes, and passes signals on to it. A program that asks nothing
 * runs in its own session: a terminal, and many CI systems, signal the whole process group, which would be a second
 * signal besides the one that is passed on. A program that asks gets Ctrl-C from the terminal itself, so SIGINT is not
 * passed on.
 */
export async function runChild(
  file: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  { cwd, asks = false, started }: SpawnMode = {},
): Promise<ExitResult> {
  let told: NodeJS.Signals | undefined;
  let child: ReturnType<typeof spawn> | undefined;
  let last = -Infinity;
  const passOn = (signal: NodeJS.Signals): void => {
    told ??= signal;
    const now = performance.now();
    if (now - last < echoMs) return;
    last = now;
    if (asks && signal === "SIGINT") return;
    child?.kill(asTold[signal as keyof typeof asTold]);
  };
  const signals = Object.keys(asTold) as (keyof typeof asTold)[];
  for (const signal of signals) process.on(signal, passOn);
  try {
    const stdio = [asks ? "inherit" : "ignore", "inherit", "inherit"] as const;
    child = spawn(file, args, { env: environment, cwd, detached: !asks, stdio: [...stdio] });
    started?.(child.pid);
    const [code, by] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    return { code: code ?? 128 + constants.signals[by ?? "SIGKILL"], told };
  } finally {
    for (const signal of signals) process.off(signal, passOn);
  }
}
