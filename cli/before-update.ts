import { checkEnvironment } from "../preflight.ts";
import { commandLine } from "./command-line.ts";
import { fileBackend, locksOf, PROJECT, stateIn } from "./engine-state.ts";
import { lostVms } from "./lost-vms.ts";
import { isChange, refuseFlags } from "./refused-flags.ts";

/**
 * What comes before `npx pulumi up`: what a killed run left in the backend is repaired, VMs that are gone are forgotten,
 * and what would defeat our gates is refused. Reads two files and the list of VMs when there is nothing to do.
 * @throws UserError when the update must not begin
 */
export async function beforeUpdate(args: readonly string[], stack: string, environment: NodeJS.ProcessEnv) {
  const line = commandLine(args);
  if (!isChange(line) || line.flags.some(({ name }) => ["help", "h"].includes(name))) return;
  refuseFlags(line);
  checkEnvironment(environment);
  if (!["up", "update"].includes(line.words[0] ?? "")) return;
  const backend = fileBackend(environment);
  if (backend === undefined) return;
  const locks = locksOf(backend, PROJECT, stack);
  const { pending, deleting, vms } = stateIn(backend, PROJECT, stack);
  if (locks.length + pending.length + deleting.length === 0) {
    const lost = await lostVms(stack, environment, vms);
    if (lost.length > 0) await (await import("./repair.ts")).forget(stack, lost);
    return;
  }
  const { refuseLiving, repair } = await import("./repair.ts");
  refuseLiving(locks, stack);
  process.stdout.write(
    `an earlier run of stack ${stack} was killed; what it left is repaired first (evergreen repair)\n`,
  );
  await repair(stack, "by an update");
}
