import { Command } from "commander";
import { doctorCommand } from "./doctor.ts";
import { envCommand } from "./env.ts";
import { fail } from "./report.ts";
import { setupCommand } from "./setup.ts";

/** A command whose file is loaded only when it is called, because `setup` must work before everything else does. */
interface Late {
  name: string;
  load: () => Promise<(program: Command) => void>;
}

const late: readonly Late[] = [
  { name: "lab", load: async () => (await import("./lab.ts")).labCommand },
  { name: "demo", load: async () => (await import("./demo.ts")).demoCommand },
  { name: "status", load: async () => (await import("./status.ts")).statusCommand },
  { name: "baseline", load: async () => (await import("./baseline.ts")).baselineCommand },
  { name: "init", load: async () => (await import("./init.ts")).initCommand },
  { name: "explain", load: async () => (await import("./explain.ts")).explainCommand },
  { name: "up", load: async () => (await import("./up.ts")).upCommand },
  { name: "repair", load: async () => (await import("./repair.ts")).repairCommand },
  { name: "adopt", load: async () => (await import("./adopt.ts")).adoptCommand },
  { name: "image", load: async () => (await import("./image.ts")).imageCommand },
  { name: "rollback", load: async () => (await import("./rollback.ts")).rollbackCommand },
];

/** A reader that has gone (`| head`) ends no work that has begun: what is still said is lost, the exit code is not. */
function outliveReader(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

/** Runs `npx evergreen ...`. */
export async function main(args: readonly string[]): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", outliveReader);
  try {
    const program = new Command("evergreen").description("Keeps RKE2 clusters on Proxmox VE patched");
    setupCommand(program);
    doctorCommand(program);
    envCommand(program);
    // The help text needs all commands, a call only its own.
    const called = late.filter(({ name }) => name === args[0]);
    const known = program.commands.some((command) => command.name() === args[0]);
    for (const { load } of called.length > 0 ? called : known ? [] : late) (await load())(program);
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    fail(error);
  }
}
