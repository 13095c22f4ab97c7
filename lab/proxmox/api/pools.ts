/** Endpoints of resource pools. */
import { died } from "../answer.ts";
import { perm } from "../call.ts";
import type { Call, Route } from "../call.ts";
import type { DataCentre } from "../data-centre.ts";
import type { Pool } from "../model.ts";
import { spec } from "../params.ts";
import type { Specs } from "../params.ts";
import { mayAny, needAll } from "../permissions.ts";
import { needClusterLock } from "../quorum.ts";
import { memberRow } from "../status.ts";

function poolOf(call: Call, what = ""): Pool {
  const id = call.params.text("poolid");
  const pool = call.dc.pools.get(id);
  if (!pool) throw died(`${what}pool '${id}' does not exist`);
  return pool;
}

function detail(dc: DataCentre, pool: Pool) {
  const vms = [...pool.vms].map((vmid) => dc.vms.get(vmid)).filter((vm) => vm !== undefined);
  return { ...(pool.comment !== undefined && { comment: pool.comment }), members: vms.map((vm) => memberRow(dc, vm)) };
}

function list(call: Call) {
  const { dc, token, params } = call;
  if (params.has("poolid")) {
    // As recorded: Proxmox VE requires no privilege here, although it does for `GET pools/{poolid}`.
    return [{ poolid: params.text("poolid"), ...detail(dc, poolOf(call)) }];
  }
  return [...dc.pools.values()]
    .filter((pool) => mayAny(dc, token, `/pool/${pool.id}`, ["Pool.Audit"]))
    .map((pool) => ({ poolid: pool.id, ...(pool.comment !== undefined && { comment: pool.comment }) }))
    .sort((a, b) => (a.poolid < b.poolid ? -1 : 1));
}

function create({ dc, params }: Call): null {
  const id = params.text("poolid");
  needClusterLock(dc, "file-user_cfg", "create pool failed: ");
  if (dc.pools.has(id)) throw died(`create pool failed: pool '${id}' already exists`);
  dc.addPool(id, params.get("comment"));
  return null;
}

function ids(text: string | undefined): string[] {
  return (text ?? "").split(/[,; ]+/).filter(Boolean);
}

function addOrRemove<T>(call: Call, set: Set<T>, what: string, members: T[]): void {
  const { params } = call;
  for (const member of members) {
    if (params.flag("delete")) {
      if (!set.delete(member)) throw died(`update pool failed: ${what} '${String(member)}' is not a pool member`);
    } else if (set.has(member)) throw died(`update pool failed: ${what} '${String(member)}' is already a pool member`);
    else set.add(member);
  }
}

function update(call: Call): null {
  const { dc, token, params } = call;
  const pool = poolOf(call);
  needClusterLock(dc, "file-user_cfg", "update pool failed: ");
  const vmids = ids(params.get("vms")).map(Number);
  for (const vmid of vmids) {
    needAll(dc, token, `/vms/${vmid}`, ["Permissions.Modify"]);
    const other = dc.poolOf(vmid);
    if (!params.flag("delete") && other && other !== pool) {
      if (!params.flag("allow-move")) {
        throw died(`update pool failed: VM ${vmid} belongs already to pool '${other.id}' and allow-move is not set`);
      }
      other.vms.delete(vmid);
    }
  }
  if (params.has("comment")) pool.comment = params.get("comment");
  addOrRemove(call, pool.vms, "VM", vmids);
  addOrRemove(call, pool.storages, "storage", ids(params.get("storage")));
  return null;
}

function remove(call: Call): null {
  needClusterLock(call.dc, "file-user_cfg", "delete pool failed: ");
  const pool = poolOf(call, "delete pool failed: ");
  const [vmid] = pool.vms;
  const [storage] = pool.storages;
  const why =
    vmid !== undefined ? `contains VM ${vmid}` : storage !== undefined ? `contains storage ${storage}` : undefined;
  if (why !== undefined) throw died(`delete pool failed: pool '${pool.id}' is not empty (${why})`);
  call.dc.pools.delete(pool.id);
  return null;
}

const poolid: Specs = { poolid: { type: "string", required: true } };
const changes: Specs = {
  ...poolid,
  comment: spec.text,
  vms: spec.text,
  storage: spec.text,
  delete: spec.flag,
  "allow-move": spec.flag,
};
const allocate = perm("/pool/{poolid}", "Pool.Allocate");

export const poolRoutes: Route[] = [
  { method: "GET", path: "pools", allow: () => undefined, params: { poolid: spec.text, type: spec.text }, run: list },
  { method: "POST", path: "pools", allow: allocate, params: { ...poolid, comment: spec.text }, run: create },
  { method: "PUT", path: "pools", allow: allocate, params: changes, run: update },
  { method: "PUT", path: "pools/{poolid}", allow: allocate, params: changes, run: update },
  { method: "DELETE", path: "pools", allow: allocate, params: poolid, run: remove },
  { method: "DELETE", path: "pools/{poolid}", allow: allocate, params: poolid, run: remove },
  {
    method: "GET",
    path: "pools/{poolid}",
    allow: perm("/pool/{poolid}", "Pool.Audit"),
    params: { ...poolid, type: spec.text },
    run: (call) => ({ poolid: call.params.text("poolid"), ...detail(call.dc, poolOf(call)) }),
  },
];
