import { UserError } from "../common/errors.ts";
import { fileBackend, locksOf, PROJECT, stateIn } from "./engine-state.ts";
import { lostVms } from "./lost-vms.ts";

/**
 * What comes before `npx pulumi up`: what a killed run left in the backend is repaired, VMs that are gone are forgotten,
 * and what would defeat our gates is refused. Reads two files and the list of VMs when there is nothing to do.
 * @throws UserError when the update must not begin
 */
export async function beforeUpdate(args: readonly string[], stack: string, environment: NodeJS.ProcessEnv) {
  const verb = args.find((arg) => !arg.startsWith("-")) ?? "";
  if (!["up", "update"].includes(verb) || args.some((arg) => ["--help", "-h"].includes(arg))) return;
  refuseContinueOnError(args);
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
  await repair(stack);
}

function refuseContinueOnError(args: readonly string[]): void {
  const asked = args.find((arg) => /^--continue-on-error(=(true|1|t))?$/i.test(arg));
  if (asked === undefined) return;
  throw new UserError({
    what: `${asked}: the engine would delete old nodes although new ones failed`,
    where: "the command line",
    todo: "run it without that flag; a step that fails keeps every old node, and the next run goes on from there",
  });
}
