import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { clock } from "../../runtime/clock.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { identify, lifeOf, type ProcessIdentity } from "../../runtime/process-identity.ts";
import { Kubernetes, type ServerConfig } from "./client.ts";
import { Lease, LeaseLost } from "./lease.ts";
import { lifeSeconds } from "./lease-requests.ts";
import { holderOf, runLease } from "./run-lease.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";

/*
 * The lease of an update is renewed by a process of its own for as long as the engine lives: the program ends before the engine
 * deletes anything, in `pulumi destroy` it does not run, and a step lives for minutes. When the lease is lost the keeper ends the
 * engine as Ctrl-C does: steps stop at a safe point, and nothing new begins.
 */

interface Task {
  config: ServerConfig;
  engine: ProcessIdentity;
}

/** What the keeper tells whoever started it, and still listens. */
interface Word {
  lost: string;
}

/**
 * Starts the process that keeps a lease, which is the engine's already. It lives until the engine has gone, whatever becomes of
 * us, and does not keep us alive.
 * @param script the bundled steps (`dist/step.mjs`)
 * @param onLost told when the lease is lost, or nobody keeps it any more, while the engine lives
 */
export function startKeeper(
  client: Kubernetes,
  engine: ProcessIdentity,
  script: string,
  onLost?: (why: string) => void,
): void {
  const { PATH, HOME, TMPDIR } = process.env;
  const child = spawn(process.execPath, [script, "keep"], {
    // Of its own session: a signal for the engine's group is not for it. It needs no secret but the one that it is given.
    detached: true,
    cwd: "/",
    env: { PATH, HOME, TMPDIR },
    stdio: ["pipe", "ignore", "ignore", ...(onLost ? ["ipc" as const] : [])],
  });
  const task: Task = { config: client.config, engine };
  // One that cannot even start says so by its exit.
  child.stdin?.on("error", () => undefined).end(JSON.stringify(task));
  let told = false;
  const tell = (why: string): void => {
    if (!told) onLost?.(why);
    told = true;
  };
  child.on("message", (word: Word) => tell(word.lost));
  child.on("error", (error) => tell(unkept(messageOf(error))));
  child.on("exit", (code, signal) => {
    // With the engine it ends as it should.
    if (lifeOf(engine) !== "dead") tell(unkept(signal ?? `exit code ${code ?? "unknown"}`));
  });
  child.unref();
  child.channel?.unref();
}

function unkept(why: string): string {
  return new UserError({
    what: `the process that keeps the lease ${runLease} has ended: nobody renews the right to update the cluster`,
    where: `dist/step.mjs keep: ${why}`,
    todo: "nothing new was begun; run pulumi up again, and look whether this machine is short of memory",
  }).message;
}

/** The keeper itself: `dist/step.mjs keep`. @param tell reaches whoever started it, while they listen */
export async function keep(input: NodeJS.ReadableStream, tell: (word: Word) => Promise<void>): Promise<void> {
  const { config, engine } = JSON.parse(await text(input)) as Task;
  const client = new Kubernetes(config);
  const ended = new AbortController();
  try {
    const lease = await adopt(client, engine, (error) => ended.abort(error));
    // The engine is no child of ours, and nothing tells when it ends.
    while (!ended.signal.aborted && lifeOf(engine) === "alive") await clock.sleep(250);
    ended.signal.throwIfAborted();
    await awaitSteps(client, ended.signal);
    await lease.release();
  } catch (error) {
    if (!(error instanceof LeaseLost) || lifeOf(engine) !== "alive") throw error;
    await tell({ lost: error.message });
    process.kill(engine.pid, "SIGINT");
  } finally {
    await client.close();
  }
}

/**
 * A step whose engine was killed gives back what it has in hand, a node that it was emptying, and has the right to do so only
 * while the lease is its engine's. One that was killed too, as the plugin does when its engine is cancelled, is not waited for.
 */
async function awaitSteps(client: Kubernetes, lost: AbortSignal): Promise<void> {
  const atWork = async () =>
    (await client.list<LeaseObject>(paths.leases)).items.some(({ spec }) => isStepHere(spec?.holderIdentity ?? ""));
  const end = clock.elapsed() + lifeSeconds * 1000;
  // Of an API that is away nobody learns more by waiting.
  while (!lost.aborted && clock.elapsed() < end && (await atWork().catch(() => false))) await clock.sleep(250);
}

/** Whether a holder is a step, by its id (src/steps/main.ts), whose process there is here: an engine's steps run beside its keeper. */
function isStepHere(holder: string): boolean {
  const [, pid] = /^[a-z]+-(\d+)-[0-9a-f]{8}$/.exec(holder) ?? [];
  return pid !== undefined && identify(Number(pid)) !== undefined;
}

/** Renewed for as long as nobody takes it, however long the API is away: another run has to take it to begin. */
async function adopt(client: Kubernetes, engine: ProcessIdentity, onLost: (error: LeaseLost) => void): Promise<Lease> {
  const held = await client.find<LeaseObject>(`${paths.leases}/${runLease}`);
  if (held === undefined) throw new LeaseLost(runLease, "somebody deleted it");
  return await Lease.adopt(client, held, { holder: holderOf(engine), patience: Infinity, onLost });
}
