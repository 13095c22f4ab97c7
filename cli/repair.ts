import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Command } from "commander";
import { UserError, messageOf } from "../common/errors.ts";
import { proveGone } from "../kubernetes/gone.ts";
import { leftovers } from "../leftovers.ts";
import { listVms, unseenAmong } from "../proxmox/vms.ts";
import { parseNodeName } from "../rollout/generation.ts";
import { toolchain } from "../tools/index.ts";
import {
  fileBackend,
  isDead,
  locksOf,
  parseState,
  PROJECT,
  type EngineLock,
  type EngineState,
  VM_TYPE,
} from "./engine-state.ts";
import { awaitDestroys, undoCreate } from "./half-made.ts";
import { mayForget, refuseHidden, refuseStrangers } from "./lost-vms.ts";
import { withSite, type OpenSite } from "./site.ts";

const run = promisify(execFile);

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

/** Who asks for a repair: an operator, whose word it takes to give up a node that has served, or an update. */
export type Asked = "by hand" | "by an update";

/**
 * @returns how many things were mended
 * @throws UserErrors after that, when a number of the engine's is somebody else's, or a VM of its is out of the token's sight
 */
export async function repair(stack: string, asked: Asked): Promise<number> {
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack });
  const engine = new EngineSide(stack, tools.pulumi, tools.environment({}, stack));
  let done = await engine.unlock();
  const { pending, deleting, vms } = await engine.state();
  const { gone, hidden, seen, mayRefresh } = await withSite(stack, async (site) => {
    for (const { what, mend, byHand } of await leftovers(site.pve, site.config, site.live)) {
      if (byHand && asked !== "by hand") continue;
      report(what, await mend());
      done += 1;
    }
    for (const create of pending) {
      const how = engine.seesLocks ? await undoCreate(site, create) : UNSEEN;
      report(`a create that never ended: ${create.urn}`, how);
    }
    if (engine.seesLocks) done += await undoLostClones(site, vms);
    await awaitDestroys(site.pve, deleting);
    // Listed anew: a destruction may have ended since the picture.
    const looked = await unseenAmong(site.pve, site.config.site.proxmoxPool, vms);
    return { ...looked, mayRefresh: looked.hidden.length === 0 && (await mayGiveUp(site, looked.gone, asked)) };
  });
  if (mayRefresh && pending.length + gone.length > 0) {
    reportGone(gone);
    await engine.refresh();
    done += pending.length + gone.length;
  }
  refuseStrangers(vms, seen);
  refuseHidden(hidden);
  return done;
}

/**
 * Whether the engine may forget VMs that are gone. An operator's word is enough once nothing runs under their names.
 * @throws UserError when a Node of one is Ready all the same
 */
async function mayGiveUp({ pve, live }: OpenSite, gone: EngineState["vms"], asked: Asked): Promise<boolean> {
  if (asked !== "by hand") return gone.length === 0 || mayForget(gone, live);
  const { kubernetes } = live;
  if (kubernetes) for (const vm of gone) await proveGone(pve, kubernetes, vm);
  return true;
}

/**
 * Has the engine forget VMs that are gone and were no members, before it meets them: it would fail on each, because Proxmox
 * refuses a pool's token a VM that is gone instead of saying so.
 */
export async function forget(stack: string, gone: EngineState["vms"]): Promise<void> {
  if (!(await withSite(stack, ({ live }) => Promise.resolve(mayForget(gone, live))))) return;
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack });
  reportGone(gone);
  await new EngineSide(stack, tools.pulumi, tools.environment({}, stack)).refresh();
}

function reportGone(gone: EngineState["vms"]): void {
  for (const { name, vmid } of gone)
    report(`the engine remembers VM ${vmid} (${name}), which is gone`, "to be forgotten");
}

/** Why a half-made VM stays on a backend that does not say whether an update runs: it could be that update's clone. */
const UNSEEN =
  "left alone: this backend does not show whether an update runs; see to it that none does, and remove its VM by hand";

/**
 * Clones that no state knows, because their plugin was killed: they bear a name of ours, are off, and nobody joined them.
 * @returns how many were destroyed
 */
async function undoLostClones(site: OpenSite, known: readonly { vmid: number }[]): Promise<number> {
  let destroyed = 0;
  // Listed anew: since the picture, creates were undone, and a clone that was waited for may have come out of hiding.
  const lost = (await listVms(site.pve)).filter(
    ({ vmid, name, pool, template, status }) =>
      name !== undefined &&
      parseNodeName(name, site.config.cluster) !== undefined &&
      pool === site.config.site.proxmoxPool &&
      !template &&
      status === "stopped" &&
      !known.some((vm) => vm.vmid === vmid),
  );
  for (const { vmid, name = "" } of lost) {
    const how = await undoCreate(site, { urn: "", type: VM_TYPE, inputs: { name, vmId: vmid } });
    report(`VM ${vmid} (${name}) is in no state of the engine`, how);
    if (how.startsWith("destroyed")) destroyed += 1;
  }
  return destroyed;
}

/** @throws UserError when a lock's owner may be alive: nothing that it works on is touched */
export function refuseLiving(locks: readonly EngineLock[], stack: string): void {
  const alive = locks.find((lock) => !isDead(lock));
  if (!alive) return;
  throw new UserError({
    what: `an update of stack ${stack} is running`,
    where: `process ${alive.pid} of ${alive.username} on ${alive.hostname}, since ${alive.timestamp}`,
    todo: "wait for its end, or end it with SIGINT; if that machine is lost, run `pulumi cancel`",
  });
}

function report(what: string, how: string): void {
  process.stdout.write(`${what}\n  -> ${how}\n`);
}

/** What the engine itself left in its backend. */
class EngineSide {
  private readonly stack: string;
  private readonly program: string;
  private readonly environment: NodeJS.ProcessEnv;

  constructor(stack: string, program: string, environment: NodeJS.ProcessEnv) {
    this.stack = stack;
    this.program = program;
    this.environment = environment;
  }

  /** Whether a running update would have been seen by its lock. */
  get seesLocks(): boolean {
    return fileBackend(this.environment) !== undefined;
  }

  private async pulumi(...args: string[]): Promise<string> {
    try {
      const options = { env: this.environment, maxBuffer: 1 << 28 };
      return (await run(this.program, [...args, "--non-interactive"], options)).stdout;
    } catch (error) {
      throw new UserError(
        {
          what: `pulumi ${args[0] ?? ""} failed: ${messageOf(error)}`,
          where: `stack ${this.stack}`,
          todo: "read what pulumi said; the rest of the repair was done or can be done again",
        },
        { cause: error },
      );
    }
  }

  /** Cancels the lock of a dead engine. A lock whose owner may live is refused: the engine's steps may be at work. */
  async unlock(): Promise<number> {
    const backend = fileBackend(this.environment);
    const locks = backend === undefined ? [] : locksOf(backend, PROJECT, this.stack);
    refuseLiving(locks, this.stack);
    if (locks.length === 0) return 0;
    await this.pulumi("cancel", "--yes", this.stack);
    for (const { pid, timestamp } of locks)
      report(`the lock of engine ${pid}, which died`, `cancelled it (taken at ${timestamp})`);
    return locks.length;
  }

  async state(): Promise<EngineState> {
    return parseState(await this.pulumi("stack", "export", "--stack", this.stack));
  }

  /** Forgets what is gone and what never came to be. The program does not run. */
  async refresh(): Promise<void> {
    await this.pulumi("refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--stack", this.stack);
    report("the state of the engine", "refreshed, with pending creates cleared");
  }
}
