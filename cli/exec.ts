import { spawn } from "node:child_process";
import { constants } from "node:os";

/**
 * Becomes another program: terminal, signals and exit code are its own from then on. Where the platform cannot do that,
 * stands between: a terminal sends SIGINT to both, other signals are passed on.
 */
export function exec(file: string, args: readonly string[], env: Record<string, string>): void {
  if (typeof process.execve === "function") {
    // Node calls this experimental on standard error, where the user expects the program's own words.
    process.removeAllListeners("warning");
    process.execve(file, [file, ...args], env);
  }
  const child = spawn(file, args, { env, stdio: "inherit" });
  child.on("error", (error) => {
    throw error;
  });
  process.on("SIGINT", () => undefined);
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (signal ? constants.signals[signal] : 0)));
}
