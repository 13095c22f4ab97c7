// In plain JavaScript that Node 18 understands: npx starts it with whatever Node the machine has.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

const WANTED = 24;

/** Runs `main` of a module of ours, under the project's own Node 24. */
export async function launch(module) {
  const file = fileURLToPath(new URL(module, import.meta.url));
  if (Number(process.versions.node.split(".", 1)[0]) >= WANTED) {
    const { main } = await import(file);
    await main(process.argv.slice(2));
  } else handOver(process.argv[1]);
}

function handOver(file) {
  const node = fileURLToPath(new URL("../../node_modules/.bin/node", import.meta.url));
  const child = spawn(node, [file, ...process.argv.slice(2)], { stdio: "inherit" });
  child.on("error", (error) => {
    console.error(`Node ${WANTED} of this project cannot start`);
    console.error(`  where: ${node} (${error.message})`);
    console.error("  do:    run npm ci in the project");
    process.exit(1);
  });
  // A terminal sends SIGINT to the whole group: forwarding it would double it.
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}
