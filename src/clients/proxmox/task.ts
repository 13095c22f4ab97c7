import { clock } from "../../runtime/clock.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxAnswerError, ProxmoxError, ProxmoxUnreachable, silentHostOf } from "./errors.ts";
import { Row } from "./parse.ts";

/** A task did not end successfully. Proxmox reports most failures here, not in the answer to the request. */
export class TaskError extends Error {
  override readonly name = "TaskError";
  readonly upid: string;
  readonly exitStatus: string;
  /** The last lines of the task's log. */
  readonly log: readonly string[];

  constructor(what: string, upid: string, exitStatus: string, log: readonly string[]) {
    super(`${what} failed: ${exitStatus}\n  task: ${upid}${log.map((line) => `\n  | ${line}`).join("")}`);
    this.upid = upid;
    this.exitStatus = exitStatus;
    this.log = log;
  }
}

/** How many lines of a failed task's log are shown. */
const tail = 8;

/**
 * Waits for the end of a task.
 * @param upid the answer of the request that started it
 * @param usualMs how long such a task takes in most data centres, in milliseconds: until then there is only one early
 * poll
 * @param hasEffect whether what the task was started for is there: asked after the usual time, and then in turn with the
 * task itself, whose end is not waited for when it is. @default only the task is asked
 * @throws TaskError with exit status and the end of the log
 * @throws DeadlineError when it still runs; the task goes on in Proxmox
 */
export async function awaitTask(
  pve: Proxmox,
  upid: unknown,
  deadline: Deadline,
  usualMs = 1500,
  hasEffect?: () => Promise<boolean>,
): Promise<void> {
  const [host, id] = parseUpid(upid);
  const path = `/nodes/${host}/tasks/${encodeURIComponent(id)}`;
  await clock.sleep(earlyMs);
  let looks = 0;
  const exitStatus = await deadline.poll(
    (made) => (made === 1 ? usualMs - earlyMs : 1000),
    () => {
      looks += 1;
      return hasEffect && looks % 2 === 0 ? readEffect(hasEffect) : readExitStatus(pve, path, deadline);
    },
    () => `task ${id} on ${host} still runs`,
  );
  if (exitStatus === "OK") return;
  const log = await pve.get(`${path}/log`, { limit: 500 }).then(
    (lines) => Row.list(lines, `${path}/log`).map((line) => line.maybeText("t") ?? ""),
    (error: unknown) => [`(its log is not readable: ${String(error)})`],
  );
  if (!/^WARNINGS: \d+$/.test(exitStatus)) throw new TaskError(deadline.what, id, exitStatus, log.slice(-tail));
  for (const line of log.filter((text) => text.startsWith("WARN"))) say(`${deadline.what}: ${line}`);
}

/**
 * Time of the early poll, in milliseconds: a task takes 50 ms in the lab and seconds in a data centre. After its usual
 * time it is polled once a second, as the provider does.
 */
const earlyMs = 250;

/** The exit status, or undefined while it runs. */
async function readExitStatus(pve: Proxmox, path: string, deadline: Deadline): Promise<string | undefined> {
  try {
    const status = new Row(await pve.get(`${path}/status`), `${path}/status`);
    return status.text("status") === "running" ? undefined : status.text("exitstatus");
  } catch (error) {
    // Right after its start another host of the cluster may not know the task yet.
    const young = deadline.seconds - deadline.left / 1000 < 10;
    if (young && error instanceof ProxmoxError && error.status === 400) return undefined;
    if (isOutage(error)) return undefined;
    throw error;
  }
}

/** The exit status of a task that has its effect, or undefined. */
async function readEffect(hasEffect: () => Promise<boolean>): Promise<string | undefined> {
  try {
    return (await hasEffect()) ? "OK" : undefined;
  } catch (error) {
    if (isOutage(error)) return undefined;
    throw error;
  }
}

/** A short outage says nothing about the task. */
const isOutage = (error: unknown): boolean => silentHostOf(error) !== undefined || error instanceof ProxmoxUnreachable;

/** @returns the host that runs the task, and its id */
function parseUpid(upid: unknown): [string, string] {
  const host = typeof upid === "string" ? /^UPID:([^:]+):(?:[^:]*:){5,}/.exec(upid)?.[1] : undefined;
  if (host === undefined)
    throw new ProxmoxAnswerError("the start of a task", `${JSON.stringify(upid)} is not a task id`);
  return [host, String(upid)];
}

/**
 * Whether a task of a type that was started with this token still runs. Each host is asked: the list of the whole data
 * centre (`/cluster/tasks`) shows a token no tasks, not even its own.
 * @param hosts for clones the hosts that hold templates: a clone runs where its template is
 */
export async function isTaskRunning(
  pve: Proxmox,
  hosts: Iterable<string>,
  type: "qmclone" | "qmdestroy",
): Promise<boolean> {
  const running = await Promise.all(
    [...new Set(hosts)].map(async (host) => {
      const path = `/nodes/${host}/tasks`;
      const tasks = Row.list(await pve.get(path, { source: "active", typefilter: type }), path);
      return tasks.some((task) => task.maybeText("endtime") === undefined);
    }),
  );
  return running.includes(true);
}

/** Whether a task about a VM that was started with this token still runs on a host. */
export async function isTaskOfVmRunning(
  pve: Proxmox,
  { host, vmid }: { host: string; vmid: number },
  type: "qmcreate" | "qmclone",
): Promise<boolean> {
  const path = `/nodes/${host}/tasks`;
  const tasks = Row.list(await pve.get(path, { source: "active", typefilter: type, vmid }), path);
  return tasks.some((task) => task.maybeText("endtime") === undefined);
}
