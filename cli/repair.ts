import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Command } from "commander";
import { UserError, messageOf } from "../common/errors.ts";
import { leftovers } from "../leftovers.ts";
import { destroyVm } from "../proxmox/destroy.ts";
import { listVms, readVm } from "../proxmox/vms.ts";
import { parseNodeName } from "../rollout/generation.ts";
import { toolchain } from "../tools/index.ts";
import {
  fileBackend,
  isDead,
  locksOf,
  parseState,
  VM_TYPE,
  type EngineState,
  type PendingCreate,
} from "./engine-state.ts";
import { withSite, type OpenSite } from "./site.ts";

const run = promisify(execFile);
const PROJECT = "evergreen";

/** `evergreen repair`: finishes or undoes what a killed run left, a line each. */
export function repairCommand(program: Command): void {
  program
    .command("repair")
    .description("finish or undo what a killed run left: locks, pending operations, half-made VMs, leases, cordons")
    .option("-s, --stack <name>", "stack to repair", "dev")
    .action(async ({ stack }: { stack: string }) => {
      const done = await repair(stack);
      process.stdout.write(done === 0 ? "nothing to repair\n" : `${done} repaired\n`);
    });
}

/** @returns how many things were mended */
export async function repair(stack: string): Promise<number> {
  const tools = await toolchain({ quiet: true, parts: ["engine"] });
  const engine = new EngineSide(stack, tools.pulumi, tools.environment({}, stack));
  let done = await engine.unlock();
  const { pending, vms } = await engine.state();
  const gone = await withSite(stack, async (site) => {
    for (const { what, mend } of await leftovers(site.config, site.live)) {
      report(what, await mend());
      done += 1;
    }
    for (const create of pending) report(`a create that never ended: ${create.urn}`, await undoCreate(site, create));
    return vms.filter((vm) => !site.live.takenVmids.includes(vm.vmid));
  });
  for (const { name, vmid } of gone)
    report(`the engine remembers VM ${vmid} (${name}), which is gone`, "to be forgotten");
  if (pending.length + gone.length > 0) await engine.refresh();
  return done + pending.length + gone.length;
}

function report(what: string, how: string): void {
  process.stdout.write(`${what}\n  -> ${how}\n`);
}

/** Removes a clone that the engine lost, if it is provably the one that it began and nobody ever joined it. */
async function undoCreate({ pve, config, live }: OpenSite, create: PendingCreate): Promise<string> {
  if (create.type !== VM_TYPE) return "its step runs again with the next update";
  const { name, vmId } = create.inputs as { name?: string; vmId?: number };
  const listed = (await listVms(pve)).find((vm) => vm.vmid === vmId);
  if (!listed || vmId === undefined || name === undefined) return "it has made no VM";
  const remembered = [...live.records.values()].some((record) => record.nodes.some((node) => node.vmid === vmId));
  const member = live.nodes.some((node) => node.name === name);
  const actual = await readVm(pve, listed);
  const ours = actual.name === name && !actual.template && parseNodeName(name, config.cluster) !== undefined;
  if (!ours || listed.pool !== config.site.proxmoxPool)
    return `left alone: VM ${vmId} is ${actual.name || "without a name"}, not ${name}`;
  if (remembered || member || listed.status !== "stopped")
    return `left alone: VM ${vmId} (${name}) runs or was a member; import it with pulumi import, or retire it by hand`;
  await destroyVm(pve, listed.host, { vmid: vmId, name, uuid: actual.uuid, tags: [] });
  return `destroyed the half-made VM ${vmId} (${name})`;
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
    const alive = locks.find((lock) => !isDead(lock));
    if (alive)
      throw new UserError({
        what: `an update of stack ${this.stack} is running`,
        where: `process ${alive.pid} of ${alive.username} on ${alive.hostname}, since ${alive.timestamp}`,
        todo: "wait for its end, or end it with SIGINT; if that machine is lost, run `pulumi cancel`",
      });
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
