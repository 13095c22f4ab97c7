import { resolve } from "node:path";
import { show } from "../src/runtime/log.ts";
import { checkEnvironment } from "../src/observe/preflight.ts";
import { commandLine, valueOf } from "../src/runtime/command-line.ts";
import type { EngineSide } from "../src/recovery/engine-side.ts";
import { VM_TYPE } from "../src/recovery/engine-state.ts";
import { findMissingVms, findOutdatedVms, requireSeen } from "../src/recovery/missing-vms.ts";
import { isChange, refuseFlags } from "../src/runtime/refused-flags.ts";

/**
 * Prepares `npx pulumi up`: repairs what a killed run left in the backend, removes VMs that are gone from the state,
 * and refuses flags and environment variables that would bypass the gates, also of a destroy, and a refresh that would
 * forget VMs that are only out of sight. When there is nothing to do, it reads two files and the list of VMs on a file
 * backend; on any other backend it asks the engine.
 * @throws UserError when the update must not begin
 */
export async function prepareUpdate(
  args: readonly string[],
  stack: string,
  engine: EngineSide,
  environment: NodeJS.ProcessEnv,
): Promise<void> {
  const line = commandLine(args);
  if (line.flags.some(({ name }) => ["help", "h"].includes(name))) return;
  if (line.words[0] === "refresh") await requireSeen(stack, environment, (await engine.readState()).vms);
  if (!isChange(line)) return;
  refuseFlags(line);
  checkEnvironment(environment);
  if (["up", "update"].includes(line.words[0] ?? "")) {
    const file = valueOf(line, "config-file") ?? environment.PULUMI_OPTION_CONFIG_FILE ?? "";
    const path = file === "" ? undefined : resolve(valueOf(line, "cwd") ?? "", file);
    await prepareEngine(stack, engine, environment, path);
  } else await prepareDestroy(stack, engine, environment);
}

/**
 * The preparation of a destroy, in which no program runs: the engine destroys a VM on the host that its state names, and
 * fails on one that is gone. The cluster need not answer any more, so only Proxmox VE is asked.
 */
async function prepareDestroy(stack: string, engine: EngineSide, environment: NodeJS.ProcessEnv): Promise<void> {
  const { pending, vms } = await engine.readState();
  const { gone, moved } = await findOutdatedVms(stack, environment, vms);
  const begun = pending.filter(({ type }) => type === VM_TYPE);
  if (gone.length + moved.length + begun.length === 0) return;
  const [{ followMoved, reportGone }, { report }] = await Promise.all([
    import("../src/recovery/mend.ts"),
    import("./repair.ts"),
  ]);
  for (const { urn, inputs } of begun)
    report(
      `a create that never ended: ${urn}`,
      `a destroy leaves what it has made: run npx evergreen repair before it, or look for VM ${String(inputs.vmId)} after it, and destroy that by hand`,
    );
  reportGone(gone, report);
  if (gone.length > 0) await engine.refreshOnly(gone.map(({ urn }) => urn));
  await followMoved(engine, moved, report);
}

/**
 * The same preparation for a command that starts the engine without a command line of the user.
 * @param file of the configuration (`--config-file`). @default that of the stack's name
 */
export async function prepareEngine(
  stack: string,
  engine: EngineSide,
  environment: NodeJS.ProcessEnv,
  file?: string,
): Promise<void> {
  const locks = (await engine.readLocks()) ?? [];
  const { pending, deleting, vms, unfinished } = await engine.readState();
  if (locks.length + pending.length + deleting.length > 0) {
    const { refuseLiving } = await import("../src/recovery/exclusive-use.ts");
    refuseLiving(locks, stack);
    await repairFirst(`an earlier run of stack ${stack} was killed`, stack);
    return;
  }
  const { gone, moved, unconfigured, untracked } = await findMissingVms(stack, environment, vms, file);
  if (unfinished.length + unconfigured.length > 0) {
    await repairFirst(`an earlier run of stack ${stack} has made a VM and could not configure it`, stack);
    return;
  }
  if (untracked.length > 0) {
    const names = untracked.map(({ vmid, name }) => `VM ${vmid} (${name ?? ""})`).join(", ");
    await repairFirst(`the state of stack ${stack} does not have ${names}`, stack);
    return;
  }
  if (vms.some(({ claimed }) => claimed !== true)) {
    await repairFirst(`the state of stack ${stack} has a VM that nothing has claimed`, stack);
    return;
  }
  if (gone.length + moved.length === 0) return;
  const { follow, forget } = await import("./repair.ts");
  if (gone.length > 0) await forget(stack, gone);
  if (moved.length > 0) await follow(stack, moved);
}

async function repairFirst(why: string, stack: string): Promise<void> {
  const { repair } = await import("./repair.ts");
  show(`${why}; what it left is repaired first (evergreen repair)`);
  await repair(stack, "by an update");
}
