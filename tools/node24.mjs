// Preloaded by `--import`, in plain JavaScript that Node 18 understands: runs the same command line under the project's
// own Node 24 when this one cannot strip types. A bare `pulumi` starts whatever Node stands first on PATH.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

const WANTED = 24;

if (Number(process.versions.node.split(".", 1)[0]) < WANTED) {
  const node = fileURLToPath(new URL("../node_modules/.bin/node", import.meta.url));
  const child = spawn(node, [...process.execArgv, ...process.argv.slice(1)], { stdio: "inherit" });
  child.on("error", (error) => {
    console.error(`evergreen needs Node ${WANTED}, and its own cannot start (${error.message}): run npm ci`);
    process.exit(1);
  });
  // A terminal sends SIGINT to the whole group, and so does the engine: forwarding it would double it.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
  await new Promise(() => {});
}
