import { Command } from "commander";
import { doctorCommand } from "./doctor.ts";
import { envCommand } from "./env.ts";
import { fail } from "./report.ts";
import { setupCommand } from "./setup.ts";

/** A file that adds its command to the program. Loaded only when it is called: `setup` works before all else does. */
interface Late {
  name: string;
  load: () => Promise<(program: Command) => void>;
}

const late: readonly Late[] = [
  { name: "lab", load: async () => (await import("./lab.ts")).labCommand },
  { name: "demo", load: async () => (await import("./demo.ts")).demoCommand },
  { name: "status", load: async () => (await import("./status.ts")).statusCommand },
  { name: "up", load: async () => (await import("./up.ts")).upCommand },
  { name: "repair", load: async () => (await import("./repair.ts")).repairCommand },
  { name: "adopt", load: async () => (await import("./adopt.ts")).adoptCommand },
  { name: "rollback", load: async () => (await import("./rollback.ts")).rollbackCommand },
];

/** `npx evergreen ...` */
export async function main(args: readonly string[]): Promise<void> {
  try {
    const program = new Command("evergreen").description("Keeps RKE2 clusters on Proxmox VE patched");
    setupCommand(program);
    doctorCommand(program);
    envCommand(program);
    // All of them for the help text, else only the one that is called.
    const called = late.filter(({ name }) => name === args[0]);
    const known = program.commands.some((command) => command.name() === args[0]);
    for (const { load } of called.length > 0 ? called : known ? [] : late) (await load())(program);
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    fail(error);
  }
}
