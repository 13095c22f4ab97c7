import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";

/** How a program ended that we stood before. */
export interface ExitResult {
  /** Its exit code; 128 and the number of the signal that ended it. */
  code: number;
  /** The first signal that was meant for both of us. Whoever goes on after it defies the operator. */
  told: NodeJS.Signals | undefined;
}

/** The engine takes SIGHUP as it takes SIGKILL: with everything it began left behind. */
const asTold = { SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" } as const;

/**
 * So long a second signal counts as the first one, in milliseconds: `timeout` tells a process and then its group, and npx
 * and our launcher pass on what they were told. The second one ends the engine at once, so it has to be meant.
 */
const echoMs = 2_000;

export interface SpawnMode {
  /** @default ours */
  cwd?: string;
  /** Whether it asks the operator: it gets our terminal, and with that the terminal's Ctrl-C. @default false */
  asks?: boolean;
  /** Told its pid as soon as it runs. */
  started?: (pid: number | undefined) => void;
}

/**
 * Runs a program: its words are shown as they come, and signals to us are passed on to it. We end after it. One that asks
 * nothing has a session of its own, because a terminal, and many a CI system, sends a signal to the whole group: with the
 * one that we pass on, that would be two. One that asks hears the terminal itself, so Ctrl-C is not passed on.
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
