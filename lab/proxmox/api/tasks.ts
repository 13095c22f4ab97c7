/** Endpoints of tasks: list, status, log, cancel. */
import { forbidden, invalid } from "../answer.ts";
import { anyone } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { spec } from "../params.ts";
import type { Spec } from "../params.ts";
import { mayAny } from "../permissions.ts";
import type { Task } from "../tasks.ts";

/** A user also sees the tasks of its tokens; a token sees only its own tasks. */
function isOwn(call: Call, task: Task): boolean {
  return task.user === call.token.id;
}

const upidShape = /^UPID:[^:\s]+:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:[^:\s]+:[^:]*:[^:\s]+:$/;

function taskOf(call: Call, privilege: "Sys.Audit" | "Sys.Modify"): Task {
  const upid = call.params.text("upid");
  if (!upidShape.test(upid)) throw invalid({ upid: "unable to parse worker upid" });
  const task = call.dc.tasks.all.get(upid);
  if (!task) throw invalid({ upid: "no such task" });
  const path = `/nodes/${task.node}`;
  if (!isOwn(call, task) && !mayAny(call.dc, call.token, path, [privilege])) throw forbidden(`${path}, ${privilege}`);
  return task;
}

function identity(task: Task) {
  const [user, tokenid] = task.user.split("!");
  const { upid, node, pid, pstart, starttime, type, id } = task;
  return { upid, node, pid, pstart, starttime, type, id, user, ...(tokenid !== undefined && { tokenid }) };
}

function status(call: Call) {
  const task = taskOf(call, "Sys.Audit");
  return {
    ...identity(task),
    status: task.running ? "running" : "stopped",
    ...(task.exitstatus !== undefined && { exitstatus: task.exitstatus }),
  };
}

function log(call: Call) {
  const lines = taskOf(call, "Sys.Audit").log.map((t, index) => ({ n: index + 1, t }));
  const start = Number(call.params.get("start") ?? 0);
  const limit = Number(call.params.get("limit") ?? 50);
  call.extra.total = Math.max(1, lines.length);
  const page = limit === 0 ? lines.slice(start) : lines.slice(start, start + limit);
  return lines.length > 0 ? page : [{ n: 1, t: "no content" }];
}

/** A list shows ended tasks, running tasks, or both. */
function isFrom(task: Task, source = "archive"): boolean {
  return source === "all" || task.running === (source === "active");
}

function statusFormat(value: string): string | undefined {
  const wrong = value.split(/[;, ]+/).find((each) => !["ok", "error", "warning", "unknown"].includes(each));
  return wrong === undefined ? undefined : `invalid format - invalid status '${wrong}'\n`;
}

const counted: Spec = { type: "integer", minimum: 0 };

function list(call: Call) {
  const { dc, token, params } = call;
  const all = mayAny(dc, token, `/nodes/${params.text("node")}`, ["Sys.Audit"]);
  const rows = [...dc.tasks.all.values()]
    .reverse()
    .filter((task) => task.node === params.text("node") && (all || isOwn(call, task)))
    .filter((task) => isFrom(task, params.get("source")))
    .filter((task) => Number(params.get("since") ?? 0) <= task.starttime)
    .filter((task) => Number(params.get("until") ?? Infinity) >= task.starttime)
    .filter((task) => task.user.includes(params.get("userfilter") ?? ""))
    .filter((task) => !params.flag("errors") || (!task.running && task.exitstatus !== "OK"))
    .filter((task) => !params.has("vmid") || task.id === params.get("vmid"))
    .filter((task) => !params.has("typefilter") || task.type === params.get("typefilter"))
    .map((task) => ({
      ...(task.running ? { ...identity(task), user: task.user, tokenid: undefined } : identity(task)),
      ...(task.running ? { status: "RUNNING" } : { status: task.exitstatus, endtime: task.endtime }),
    }));
  if (rows.length > 0) call.extra.total = rows.length;
  const start = Number(params.get("start") ?? 0);
  return rows.slice(start, start + Number(params.get("limit") ?? 50));
}

/** Proxmox VE compares a task's user, without the token, with the caller: so a token sees no task, not even its own. */
function clusterList({ dc, token }: Call) {
  if (!mayAny(dc, token, "/", ["Sys.Audit"])) return [];
  return [...dc.tasks.all.values()]
    .reverse()
    .slice(0, 25)
    .map((task) => ({
      ...identity(task),
      ...(!task.running && { status: task.exitstatus, endtime: task.endtime, saved: 1 }),
      // The cluster's list has no process ids.
      pid: undefined,
      pstart: undefined,
    }));
}

const one = "nodes/{node}/tasks/{upid}";

export const taskRoutes: Route[] = [
  {
    method: "GET",
    path: "nodes/{node}/tasks",
    allow: anyone,
    params: {
      vmid: spec.integer,
      limit: spec.integer,
      start: spec.integer,
      source: { ...spec.text, enum: ["archive", "active", "all"] },
      typefilter: spec.text,
      errors: spec.flag,
      since: spec.integer,
      until: spec.integer,
      userfilter: spec.text,
      statusfilter: { ...spec.text, format: statusFormat },
    },
    run: list,
  },
  { method: "GET", path: "cluster/tasks", allow: anyone, params: {}, run: clusterList },
  { method: "GET", path: `${one}/status`, allow: anyone, params: {}, run: status },
  {
    method: "GET",
    path: `${one}/log`,
    allow: anyone,
    params: { start: counted, limit: counted, download: spec.flag },
    run: log,
  },
  {
    method: "DELETE",
    path: one,
    allow: anyone,
    params: {},
    run: (call) => {
      taskOf(call, "Sys.Modify").cancel();
      return null;
    },
  },
];
