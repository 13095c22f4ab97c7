import { Runner } from "./runner.ts";
import { serve } from "./server.ts";

const runner = new Runner();

// The engine ends a plugin by SIGINT and waits five seconds for it: every run of the engine would last that much longer.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => process.exit(0));

const { port, end } = await serve(runner, process.argv.at(2));

// The end of standard input is the end of the engine. What runs may finish, as it does under the official plugin.
process.stdin.on("end", () => {
  const timer = setInterval(() => {
    if (runner.busy) return;
    clearInterval(timer);
    void end().then(() => process.exit(0));
  }, 100);
});
process.stdin.resume();

// The protocol: the port, and nothing else, on standard output. The engine's address is the last argument.
process.stdout.write(`${port}\n`);
