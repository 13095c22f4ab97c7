// In plain JavaScript that Node 18 understands.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { linkOwnNode, OLDEST_NODE, ownNode } from "./own-node.mjs";

/** Runs the project's own Node in place of this process: terminal, signals and exit code are passed through. */
export function handOver(args) {
  linkOwnNode();
  const child = spawn(ownNode, args, { stdio: "inherit" });
  child.on("error", (error) => {
    console.error(`the project's own Node ${OLDEST_NODE} cannot start`);
    console.error(`  where: ${ownNode} (${error.message})`);
    console.error("  do:    run `npm ci` in the project");
    process.exit(1);
  });
  // A terminal sends SIGINT to the whole group, and so does the engine: forwarding it would double it.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
