import { forbidden, invalid } from "../answer.ts";
import { anyone } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { spec } from "../params.ts";
import { mayAny } from "../permissions.ts";
import type { Task } from "../tasks.ts";

/** A user also sees the tasks of the user's tokens, a token only its own. */
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

function list(call: Call) {
  const { dc, token, params } = call;
  const all = mayAny(dc, token, `/nodes/${params.text("node")}`, ["Sys.Audit"]);
  const rows = [...dc.tasks.all.values()]
    .reverse()
    .filter((task) => task.node === params.text("node") && (all || isOwn(call, task)))
    .filter((task) => !task.running || params.get("source") === "active" || params.get("source") === "all")
    .filter((task) => !params.has("vmid") || task.id === params.get("vmid"))
    .filter((task) => !params.has("typefilter") || task.type === params.get("typefilter"))
    .map((task) => ({
      ...identity(task),
      ...(task.running ? { status: "RUNNING" } : { status: task.exitstatus, endtime: task.endtime }),
    }));
  call.extra.total = rows.length;
  const start = Number(params.get("start") ?? 0);
  return rows.slice(start, start + Number(params.get("limit") ?? 50));
}

/** Proxmox VE compares a task's user, without the token, with who asks: so it shows a token nothing, not even its own. */
function clusterList({ dc, token }: Call) {
  if (!mayAny(dc, token, "/", ["Sys.Audit"])) return [];
  return [...dc.tasks.all.values()]
    .reverse()
    .slice(0, 25)
    .map((task) => ({
      ...identity(task),
      ...(!task.running && { status: task.exitstatus, endtime: task.endtime, saved: 1 }),
      // The cluster's list knows no process.
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
      statusfilter: spec.text,
    },
    run: list,
  },
  { method: "GET", path: "cluster/tasks", allow: anyone, params: {}, run: clusterList },
  { method: "GET", path: `${one}/status`, allow: anyone, params: {}, run: status },
  {
    method: "GET",
    path: `${one}/log`,
    allow: anyone,
    params: { start: spec.integer, limit: spec.integer, download: spec.flag },
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
