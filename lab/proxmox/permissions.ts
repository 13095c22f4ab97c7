/** Tokens' privileges by path, as Proxmox VE computes them. */
import { forbidden } from "./answer.ts";
import type { DataCentre } from "./data-centre.ts";
import type { Token } from "./model.ts";

/** All known privileges, by version: those that a root token is shown to have. */
const common =
  "Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit Group.Allocate Mapping.Audit " +
  "Mapping.Modify Mapping.Use Permissions.Modify Pool.Allocate Pool.Audit Realm.Allocate Realm.AllocateUser SDN.Allocate " +
  "SDN.Audit SDN.Use Sys.AccessNetwork Sys.Audit Sys.Console Sys.Incoming Sys.Modify Sys.PowerMgmt Sys.Syslog " +
  "User.Modify VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CDROM VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk " +
  "VM.Config.HWType VM.Config.Memory VM.Config.Network VM.Config.Options VM.Console VM.Migrate VM.PowerMgmt VM.Snapshot " +
  "VM.Snapshot.Rollback";

export function knownPrivileges(version: DataCentre["version"]): string[] {
  const agent = ["Audit", "FileRead", "FileSystemMgmt", "FileWrite", "Unrestricted"].map(
    (what) => `VM.GuestAgent.${what}`,
  );
  return [...common.split(" "), ...(version === "8.4" ? ["VM.Monitor"] : [...agent, "VM.Replicate"])].sort();
}

function ancestors(path: string): string[] {
  const parts = path.split("/").filter(Boolean);
  return ["/", ...parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`)];
}

/** Privileges by the access control list alone: on each level the deepest entry replaces inherited privileges. */
function granted(dc: DataCentre, who: string, path: string): Map<string, boolean> {
  let rights = new Map<string, boolean>();
  for (const level of ancestors(path)) {
    const here = dc.grants.filter(
      (grant) => grant.who === who && grant.path === level && (grant.propagate || level === path),
    );
    if (here.length === 0) continue;
    rights = new Map(here.flatMap((grant) => [...grant.privileges].map((name) => [name, grant.propagate] as const)));
  }
  return rights;
}

function poolOf(dc: DataCentre, path: string): string | undefined {
  const [, kind, name = ""] = /^\/(vms|storage)\/([^/]+)$/.exec(path) ?? [];
  for (const pool of dc.pools.values()) {
    if (kind === "vms" && pool.vms.has(Number(name))) return pool.id;
    if (kind === "storage" && pool.storages.has(name)) return pool.id;
  }
  return undefined;
}

/** All privileges of a token on a path, each with whether it propagates below the path. */
export function privilegesOn(dc: DataCentre, token: Token, path: string): Map<string, boolean> {
  if (token.root) return new Map(knownPrivileges(dc.version).map((name) => [name, true]));
  const rights = granted(dc, token.id, path);
  const pool = poolOf(dc, path);
  if (pool !== undefined) {
    // A pool's privileges hold for its members and for nothing below them.
    for (const name of granted(dc, token.id, `/pool/${pool}`).keys()) rights.set(name, rights.get(name) ?? false);
  }
  return rights;
}

export function mayAny(dc: DataCentre, token: Token, path: string, privileges: readonly string[]): boolean {
  if (token.root) return true;
  const rights = privilegesOn(dc, token, path);
  return privileges.some((name) => rights.has(name));
}

/** @throws ApiError 403 that names the first missing privilege */
export function needAll(dc: DataCentre, token: Token, path: string, privileges: readonly string[]): void {
  for (const name of privileges) {
    if (!mayAny(dc, token, path, [name])) throw forbidden(`${path}, ${name}`);
  }
}

/** @throws ApiError 403 that names the alternatives */
export function needAny(dc: DataCentre, token: Token, path: string, privileges: readonly string[]): void {
  if (!mayAny(dc, token, path, privileges)) throw forbidden(`${path}, ${privileges.join("|")}`);
}

/** The paths that `GET access/permissions` reports on. */
export function knownPaths(dc: DataCentre): string[] {
  const top = ["/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"];
  const pooled = [...dc.pools.values()].flatMap((pool) => [
    ...[...pool.vms].map((vmid) => `/vms/${vmid}`),
    ...[...pool.storages].map((id) => `/storage/${id}`),
  ]);
  return [...new Set([...top, ...dc.grants.map((grant) => grant.path), ...pooled])];
}
