import type { Command } from "commander";
import { toolchain } from "../tools/index.ts";
import { alone, unlock } from "../src/recovery/exclusive-use.ts";
import { EngineSide } from "../src/recovery/engine-side.ts";
import type { EngineState } from "../src/recovery/engine-state.ts";
import { mayForget } from "../src/recovery/missing-vms.ts";
import { followMoved, mend, reportGone, type Asked } from "../src/recovery/mend.ts";
import { withStack } from "../src/observe/open-stack.ts";

/** `evergreen repair`: finishes or undoes what a killed run left, a line each. */
export function repairCommand(program: Command): void {
  program
    .command("repair")
    .description("finish or undo what a killed run left: locks, pending operations, half-made VMs, leases, cordons")
    .option("-s, --stack <name>", "stack to repair", "dev")
    .action(async ({ stack }: { stack: string }) => {
      const done = await repair(stack, "by hand");
      process.stdout.write(done === 0 ? "nothing to repair\n" : `${done} repaired\n`);
    });
}

/**
 * @returns how many things were mended
 * @throws UserErrors after that, when a number of the engine's is somebody else's, a VM of its is out of the token's sight, or a
 *   create made what nobody may take away
 */
export async function repair(stack: string, asked: Asked): Promise<number> {
  const engine = await engineSide(stack);
  return await withStack(stack, (site) =>
    alone(site, async (fence) => {
      const unlocked = await unlock(engine, stack, fence, report);
      return unlocked + (await mend(engine, site, { asked, fence, report }));
    }),
  );
}

async function engineSide(stack: string): Promise<EngineSide> {
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack });
  return new EngineSide(stack, tools.pulumi, tools.environment({}, stack));
}

/**
 * Has the engine forget VMs that are gone and were no members, before it meets them: it would fail on each, because Proxmox
 * refuses a pool's token a VM that is gone instead of saying so.
 */
export async function forget(stack: string, gone: EngineState["vms"]): Promise<void> {
  const engine = await engineSide(stack);
  await withStack(stack, async (site) => {
    if (!mayForget(gone, site.observed)) return;
    await alone(site, async () => {
      reportGone(gone, report);
      await engine.refresh();
      report("the state of the engine", "refreshed, with pending creates cleared");
    });
  });
}

/** Has the engine look where VMs are that were migrated, before it meets them: its deletes go to the host that it remembers. */
export async function follow(stack: string, moved: EngineState["vms"]): Promise<void> {
  const engine = await engineSide(stack);
  await withStack(stack, (site) => alone(site, () => followMoved(engine, moved, report)));
}

function report(what: string, how: string): void {
  process.stdout.write(`${what}\n  -> ${how}\n`);
}
