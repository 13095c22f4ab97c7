/** Starts, reaches and stops a lab, for the command line, the demo, the bench and tests. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, openSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Deadline } from "../src/runtime/deadline.ts";
import { messageOf, type Problem, UserError } from "../src/runtime/errors.ts";
import { say } from "../src/runtime/log.ts";
import type { ControlCalls, ControlName, LabEvent, LabStatus } from "./control.ts";
import { callControl } from "./control-client.ts";
import { alive, identify, type ProcessId, sessionOf, signal } from "./processes.ts";
import { requireSetpriv } from "./setpriv.ts";
import { filesOf, type LabEnv, type LabOptions } from "./site.ts";

/** What the daemon writes about itself. */
export interface DaemonFile {
  process: ProcessId;
  options: LabOptions;
}

/** A running lab, as seen from outside. */
export class Lab {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = resolve(directory);
  }

  /** Environment variables that Pulumi and `evergreen` need to reach the lab. */
  get env(): LabEnv {
    return JSON.parse(readFileSync(filesOf(this.directory).env, "utf8")) as LabEnv;
  }

  get status(): Promise<LabStatus> {
    return this.call("GET /status", undefined);
  }

  /** Events after event number `after`. */
  async events(after = 0): Promise<LabEvent[]> {
    return await callControl(filesOf(this.directory).socket, "GET /events", undefined, `after=${after}`);
  }

  /** @throws UserError when the lab refuses or does not run */
  async call<Name extends ControlName>(
    name: Name,
    body: ControlCalls[Name]["body"],
  ): Promise<ControlCalls[Name]["answer"]> {
    return await callControl(filesOf(this.directory).socket, name, body);
  }

  async stop(): Promise<void> {
    await stopLab(this.directory);
  }
}

/** Seconds until the API answers; the boot of guests is not part of it. */
const startSeconds = 30;

/**
 * Starts a lab, or returns the running lab, which keeps the options that it was started with.
 * @throws UserError when an address is taken, or when the machine cannot end the lab's programs with the lab
 */
export async function startLab(options: LabOptions): Promise<Lab> {
  const directory = resolve(options.directory);
  const deadline = new Deadline(`lab ${options.name}`, startSeconds);
  return await alone(directory, deadline, () => startAlone({ ...options, directory }, deadline));
}

async function startAlone(options: LabOptions, deadline: Deadline): Promise<Lab> {
  const { directory } = options;
  const lab = new Lab(directory);
  if (await runs(lab, deadline)) return lab;
  requireSetpriv();
  // A crashed lab cannot be resumed: its data centre was in memory.
  if (readDaemon(directory) !== undefined) {
    say(`lab ${options.name} had crashed: it starts empty, and the state of its stack is gone with it`);
  }
  await remove(directory);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  await launch(options, deadline);
  return lab;
}

/** False when there is no process, or when it dies before it answers. */
async function runs(lab: Lab, deadline: Deadline): Promise<boolean> {
  const owner = readDaemon(lab.directory);
  if (owner === undefined) return false;
  return await deadline.poll(
    50,
    async () => (!alive(owner.process) ? false : (await answers(lab)) ? true : undefined),
    () => filesOf(lab.directory).log,
  );
}

async function answers(lab: Lab): Promise<boolean> {
  return await lab.status.then(
    () => true,
    () => false,
  );
}

/** Starts the daemon in a session of its own; it reports over IPC that it is ready, or why not. */
async function launch(options: LabOptions, deadline: Deadline): Promise<void> {
  const files = filesOf(options.directory);
  const log = openSync(files.log, "a", 0o600);
  const child = spawn(process.execPath, [join(import.meta.dirname, "daemon.ts"), JSON.stringify(options)], {
    detached: true,
    cwd: options.directory,
    stdio: ["ignore", log, log, "ipc"],
  });
  const said = await Promise.race([
    once(child, "message", { signal: deadline.signal() }).then(([message]) => message as { problem?: Problem }),
    once(child, "exit").then(() => ({ problem: crashed(files.log) })),
  ]).catch((error: unknown) => {
    child.kill("SIGKILL");
    throw deadline.error(messageOf(error));
  });
  if (child.connected) child.disconnect();
  child.unref();
  if (said.problem === undefined) return;
  await remove(options.directory);
  throw new UserError(said.problem);
}

function crashed(log: string): Problem {
  const tail = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n").slice(-5).join(" | ") : "";
  return {
    what: "the lab's process ended while it was starting",
    where: tail || log,
    todo: "report it with these lines",
  };
}

export function readDaemon(directory: string): DaemonFile | undefined {
  return readJson(filesOf(directory).daemon) as DaemonFile | undefined;
}

/** Undefined when the file does not exist or is incomplete. */
function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as unknown;
  } catch {
    return undefined;
  }
}

/** Removes every trace of a lab, also of a crashed lab. Succeeds when there is none. */
export async function stopLab(given: string): Promise<void> {
  const directory = resolve(given);
  await alone(directory, new Deadline("the lab to stop", startSeconds * 2), () => remove(directory));
}

async function remove(directory: string): Promise<void> {
  const files = filesOf(directory);
  const owner = readDaemon(directory);
  if (owner !== undefined) await end(owner.process, files.socket);
  if (existsSync(directory) && owner === undefined && !looksLikeLab(directory)) {
    throw new UserError({
      what: "this directory is not a lab's",
      where: directory,
      todo: "name the directory that the lab was started with, or remove it yourself",
    });
  }
  rmSync(files.socket, { force: true });
  rmSync(directory, { recursive: true, force: true });
}

/** Works while no other process starts or stops the same lab. The mark of a process that has died is ignored. */
async function alone<T>(directory: string, deadline: Deadline, work: () => Promise<T>): Promise<T> {
  const mark = `${directory}.busy`;
  mkdirSync(dirname(directory), { recursive: true });
  await deadline.poll(
    50,
    () => Promise.resolve(claim(mark) ? true : undefined),
    () => `another process that holds ${mark}`,
  );
  try {
    return await work();
  } finally {
    rmSync(mark, { force: true });
    removeEmpty(dirname(directory));
  }
}

function claim(mark: string): boolean {
  try {
    writeFileSync(mark, JSON.stringify(identify(process.pid)), { flag: "wx" });
    return true;
  } catch {
    const holder = readJson(mark) as ProcessId | undefined;
    if (holder !== undefined && !alive(holder)) rmSync(mark, { force: true });
    return false;
  }
}

/** Whether a directory has files of a lab: only such a directory is removed with its contents. */
function looksLikeLab(directory: string): boolean {
  const files = filesOf(directory);
  return existsSync(files.log) || existsSync(files.env);
}

/** Removes `.evergreen/lab` together with its last lab. */
function removeEmpty(directory: string): void {
  if (!directory.endsWith("/.evergreen/lab")) return;
  for (const path of [directory, dirname(directory)]) {
    try {
      rmdirSync(path);
    } catch {
      return;
    }
  }
}

/** Ends the daemon and all processes that it started: by request first, then by SIGKILL. */
async function end(owner: ProcessId, socket: string): Promise<void> {
  if (alive(owner)) {
    await callControl(socket, "POST /stop", undefined).catch(() => signal(owner.pid, "SIGTERM"));
    const kind = new Deadline("the lab to stop", 15);
    await kind.poll(50, () => Promise.resolve(alive(owner) ? undefined : true)).catch(() => undefined);
  }
  const firm = new Deadline("the lab's processes to end", 10);
  const left = () => sessionOf(owner);
  await firm.poll(
    50,
    () => {
      const pids = left();
      for (const pid of pids) signal(pid, "SIGKILL");
      return Promise.resolve(pids.length === 0 ? true : undefined);
    },
    () => `processes ${left().join(", ")}`,
  );
}
