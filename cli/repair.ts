import type { Command } from "commander";
import { toolchain } from "../tools/index.ts";
import { show } from "../src/runtime/log.ts";
import { runAlone, unlock } from "../src/recovery/exclusive-use.ts";
import { EngineSide } from "../src/recovery/engine-side.ts";
import type { EngineState } from "../src/recovery/engine-state.ts";
import { mayForget } from "../src/recovery/missing-vms.ts";
import { followMoved, forgetGone, mend, type Asked } from "../src/recovery/mend.ts";
import { withStack } from "./open-stack.ts";

/** `evergreen repair`: finishes or undoes what a killed run left, and prints a line for each item. */
export function repairCommand(program: Command): void {
  program
    .command("repair")
    .description("finish or undo what a killed run left: locks, pending operations, incomplete VMs, leases, cordons")
    .option("-s, --stack <name>", "stack to repair", "dev")
    .action(async ({ stack }: { stack: string }) => {
      const { done, found } = await repair(stack, "by hand");
      show(found === 0 ? "nothing to repair" : `${done} repaired`);
    });
}

/**
 * Removes the locks of dead engines, and finishes or undoes everything else that a killed run left.
 * @returns how many things were repaired, and how many lines say what was found
 * @throws UserErrors after that, when a VMID in the state belongs to a VM that is not Evergreen's, when a VM in the
 *   state is invisible to the token, or when a pending create made a VM that must not be removed
 */
export async function repair(stack: string, asked: Asked): Promise<{ done: number; found: number }> {
  const engine = await openEngineSide(stack);
  let found = 0;
  const tell = (what: string, how: string): void => {
    found += 1;
    report(what, how);
  };
  const done = await withStack(stack, (begun) =>
    runAlone(begun, async (fence, site) => {
      const unlocked = await unlock(engine, stack, fence, tell);
      return unlocked + (await mend(engine, site, { asked, fence, report: tell }));
    }),
  );
  return { done, found };
}

async function openEngineSide(stack: string): Promise<EngineSide> {
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack });
  return new EngineSide(stack, tools.pulumi, tools.environment({}, stack));
}

/**
 * Removes VMs that are gone and were not members from the engine's state, before an update. The engine would fail on
 * each of them, because Proxmox answers the token of a pool with "forbidden" for a VM that is gone.
 */
export async function forget(stack: string, gone: EngineState["vms"]): Promise<void> {
  const engine = await openEngineSide(stack);
  await withStack(stack, async (begun) => {
    if (!mayForget(gone, begun.observed)) return;
    await runAlone(begun, (_, { observed }) => forgetGone(engine, observed, gone, report));
  });
}

/** Refreshes VMs that were migrated, before an update: the engine's deletes go to the host in its state. */
export async function follow(stack: string, moved: EngineState["vms"]): Promise<void> {
  const engine = await openEngineSide(stack);
  await withStack(stack, (site) => runAlone(site, () => followMoved(engine, moved, report)));
}

/** Prints for the operator what was found, and what was done about it. */
export function report(what: string, how: string): void {
  show(`${what}\n  -> ${how}`);
}
