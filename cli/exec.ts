import { spawn } from "node:child_process";
import { constants } from "node:os";

/**
 * Replaces this process by another program, which then has its terminal, signals and exit code. Where the platform has
 * no execve, it runs the program as a child: a terminal sends SIGINT to both processes, other signals are passed on.
 */
export function exec(file: string, args: readonly string[], env: Record<string, string>): void {
  if (typeof process.execve === "function") {
    // Node would print an "experimental" warning on standard error, where the user expects the program's own output.
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
