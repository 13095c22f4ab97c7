/** The stand-in for the official plugin `command`: serves one engine until that engine ends. */
import { Runner } from "./runner.ts";
import { serve } from "./server.ts";

const runner = new Runner();

// The engine ends a plugin with SIGINT and waits five seconds for its exit: without this, every run would last that
// longer.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(0));

const { port, end } = await serve(runner, process.argv.at(2));

// Standard input ends when the engine ends. Running commands may finish, as with the official plugin.
process.stdin.on("end", () => {
  const timer = setInterval(() => {
    if (runner.busy) return;
    clearInterval(timer);
    void end().then(() => process.exit(0));
  }, 100);
});
process.stdin.resume();

// The plugin protocol: standard output has only the port. The last argument is the engine's address.
process.stdout.write(`${port}\n`);
