import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { leaseNames } from "../../domain/model/formats.ts";
import { clock } from "../../runtime/clock.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { proxySettings } from "../../runtime/proxy.ts";
import { identify, lifeOf, type ProcessIdentity } from "../../runtime/process-identity.ts";
import { Kubernetes, type ServerConfig } from "./client.ts";
import { Lease, LeaseLost } from "./lease.ts";
import { lifeSeconds } from "./lease-requests.ts";
import { holderOf } from "./run-lease.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";

/*
 * A separate process, the keeper, renews the lease of an update for as long as the engine lives: the program ends
 * before the engine deletes anything, does not run at all in `pulumi destroy`, and a step lives only for minutes. When
 * the lease is lost, the keeper stops the engine as Ctrl-C does: steps stop at a safe point, and nothing new begins.
 */

interface Task {
  config: ServerConfig;
  engine: ProcessIdentity;
}

/** What the keeper reports to the process that started it, while that process still listens. */
interface Word {
  lost: string;
}

/**
 * Starts the keeper of a lease that the engine already holds. The keeper lives until the engine has ended, even when
 * the process that started it ends before, and does not keep that process alive.
 * @param script the bundled steps (`dist/step.mjs`)
 * @param onLost called when the lease is lost, or when the keeper has ended, while the engine lives
 */
export function startKeeper(
  client: Kubernetes,
  engine: ProcessIdentity,
  script: string,
  onLost?: (why: string) => void,
): void {
  const { PATH, HOME, TMPDIR, NODE_EXTRA_CA_CERTS } = process.env;
  const child = spawn(process.execPath, [script, "keep"], {
    // A session of its own: signals for the engine's process group do not reach it. It gets no secrets except its task, and
    // that of a proxy.
    detached: true,
    cwd: "/",
    env: { PATH, HOME, TMPDIR, NODE_EXTRA_CA_CERTS, ...proxySettings() },
    stdio: ["pipe", "ignore", "ignore", ...(onLost ? ["ipc" as const] : [])],
  });
  const task: Task = { config: client.config, engine };
  // A child that cannot even start shows that by its exit.
  child.stdin?.on("error", () => undefined).end(JSON.stringify(task));
  let told = false;
  const tell = (why: string): void => {
    if (!told) onLost?.(why);
    told = true;
  };
  child.on("message", (word: Word) => tell(word.lost));
  child.on("error", (error) => tell(unkept(messageOf(error))));
  child.on("exit", (code, signal) => {
    // After the end of the engine this exit is expected.
    if (lifeOf(engine) !== "dead") tell(unkept(signal ?? `exit code ${code ?? "unknown"}`));
  });
  child.unref();
  child.channel?.unref();
}

function unkept(why: string): string {
  return new UserError({
    what: `the process that keeps the lease ${leaseNames.update} has ended: nobody renews the right to update the cluster`,
    where: `dist/step.mjs keep: ${why}`,
    todo: "nothing new was begun; run pulumi up again, and look whether this machine is short of memory",
  }).message;
}

/**
 * The keeper itself: `dist/step.mjs keep`. @param tell reaches the process that started it, while that process listens
 */
export async function keep(input: NodeJS.ReadableStream, tell: (word: Word) => Promise<void>): Promise<void> {
  const { config, engine } = JSON.parse(await text(input)) as Task;
  const client = new Kubernetes(config);
  const ended = new AbortController();
  try {
    const lease = await adopt(client, engine, (error) => ended.abort(error));
    // The engine is not a child of this process, and no event reports its end.
    while (!ended.signal.aborted && lifeOf(engine) === "alive") await clock.sleep(250);
    ended.signal.throwIfAborted();
    await awaitSteps(client, ended.signal);
    await lease.release();
  } catch (error) {
    if (lifeOf(engine) !== "alive") throw error;
    await tell({ lost: error instanceof LeaseLost ? error.message : unkept(messageOf(error)) });
    if (!(error instanceof LeaseLost)) throw error;
    process.kill(engine.pid, "SIGINT");
  } finally {
    await client.close();
  }
}

/**
 * Waits for steps that tidy up after their engine was killed, such as one that was draining a node: they may do so only
 * while the engine holds the lease. A step that was killed too, as the plugin does when its engine is cancelled, is not
 * waited for.
 */
async function awaitSteps(client: Kubernetes, lost: AbortSignal): Promise<void> {
  const atWork = async () =>
    (await client.list<LeaseObject>(paths.leases)).items.some(({ spec }) => isStepHere(spec?.holderIdentity ?? ""));
  const end = clock.elapsed() + lifeSeconds * 1000;
  // While the API is unavailable, waiting is useless.
  while (!lost.aborted && clock.elapsed() < end && (await atWork().catch(() => false))) await clock.sleep(250);
}

/**
 * Whether a holder is a step, by its id (src/steps/main.ts), whose process exists on this machine: the steps of an
 * engine run beside its keeper.
 */
function isStepHere(holder: string): boolean {
  const [, pid] = /^[a-z]+-(\d+)-[0-9a-f]{8}$/.exec(holder) ?? [];
  return pid !== undefined && identify(Number(pid)) !== undefined;
}

/**
 * Adopts the lease, to be renewed until another process takes it, however long the API is unavailable: another run
 * cannot begin without taking it.
 */
async function adopt(client: Kubernetes, engine: ProcessIdentity, onLost: (error: LeaseLost) => void): Promise<Lease> {
  const held = await client.find<LeaseObject>(`${paths.leases}/${leaseNames.update}`);
  if (held === undefined) throw new LeaseLost(leaseNames.update, "somebody deleted it");
  return await Lease.adopt(client, held, { holder: holderOf(engine), patience: Infinity, onLost });
}
