import type { Problem } from "../../runtime/errors.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxAnswerError } from "./errors.ts";
import { Row } from "./parse.ts";

/** A privilege that we need, with the path that it is needed on. One of `anyOf` is enough. */
export interface Need {
  path: string;
  anyOf: readonly string[];
  /** What fails without it. */
  why: string;
}

/** The parts of a site that rights are given on. */
export interface RightsSite {
  /** Proxmox pool of the node VMs. */
  proxmoxPool: string;
  /** Proxmox pool of the templates. */
  templatePool: string;
  storage: string;
  bridge: string;
}

/** Paths to privileges; the value says whether a privilege holds below the path too. */
export type Rights = Readonly<Record<string, Readonly<Record<string, boolean>>>>;

/** What a token is for: to look, as a preview and `evergreen status` do, or to replace nodes, which needs to look too. */
export type Purpose = "read" | "replace";

/** Kinds of options that a clone gets, each with a privilege of its own. */
const options = ["CPU", "Memory", "Network", "Options", "Disk", "Cloudinit"];

/**
 * All that a token needs for its purpose: nothing on `/`, and nothing that could be left out on every kind of storage. What
 * each call asks for is in the API schema of Proxmox VE; test/lab/proxmox/least-privilege.test.ts takes each privilege away
 * and sees what breaks.
 */
export function neededRights(site: RightsSite, version: { major: number }, purpose: Purpose): Need[] {
  const nodes = `/pool/${site.proxmoxPool}`;
  const templates = `/pool/${site.templatePool}`;
  const storage = `/storage/${site.storage}`;
  const need = (path: string, why: string, ...anyOf: string[]): Need => ({ path, anyOf, why });
  const looking = [
    need(templates, "templates are found", "VM.Audit"),
    need(nodes, "VMs are seen", "VM.Audit"),
    need(
      nodes,
      "servers are known by their pool, and without it the provider loses the pool from its state",
      "Pool.Audit",
    ),
    need(nodes, "the kubeconfig is read through the guest agent", ...agentRight(version, "FileRead")),
  ];
  if (purpose === "read")
    return [...looking, need(storage, "free space is compared", "Datastore.Audit", "Datastore.AllocateSpace")];
  const writing = agentRight(version, "FileWrite");
  return [
    ...looking,
    need(templates, "templates are cloned", "VM.Clone"),
    need(nodes, "VMs are made and destroyed", "VM.Allocate"),
    need(nodes, "VMs are started and stopped", "VM.PowerMgmt"),
    ...options.map((name) => need(nodes, "clones are configured", `VM.Config.${name}`)),
    need(nodes, "the provider sets and removes the cloud-init drive", "VM.Config.CDROM"),
    need(nodes, "the provider sends hardware options with every clone", "VM.Config.HWType"),
    ...(version.major < 9 ? [] : [need(nodes, "join data is written through the guest agent", ...writing)]),
    need(storage, "disks are allocated", "Datastore.AllocateSpace"),
    need(storage, "the provider reads the disks of clones on LVM-thin, ZFS and Ceph", "Datastore.Audit"),
    need(`/sdn/zones/localnetwork/${site.bridge}`, "VMs are connected to the bridge", "SDN.Use"),
  ];
}

/** Before 9 one privilege for all that an agent can be asked; since then one for each kind, and one for all. */
function agentRight({ major }: { major: number }, kind: "FileRead" | "FileWrite"): string[] {
  return major < 9 ? ["VM.Monitor"] : [`VM.GuestAgent.${kind}`, "VM.GuestAgent.Unrestricted"];
}

/** The needs that are not met. */
export function missingRights(rights: Rights, needs: readonly Need[]): Need[] {
  return needs.filter(({ path, anyOf }) => {
    const here = rightsOn(rights, path);
    return !anyOf.some((name) => here.has(name));
  });
}

/** The rights on a path: its own entry, or what the nearest listed ancestor hands down. */
function rightsOn(rights: Rights, path: string): Set<string> {
  const own = rights[path];
  if (own !== undefined) return new Set(Object.keys(own));
  for (let at = parent(path); ; at = parent(at)) {
    const above = rights[at];
    if (above !== undefined) return new Set(Object.keys(above).filter((name) => above[name]));
    if (at === "/") return new Set();
  }
}

function parent(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** What the token may do, by its own account. */
export async function readRights(pve: Proxmox): Promise<Rights> {
  const path = "/access/permissions";
  const answer = await pve.get(path);
  if (typeof answer !== "object" || answer === null) throw new ProxmoxAnswerError(path, "no object");
  const flags = (value: unknown): Record<string, boolean> =>
    Object.fromEntries(Object.entries(value ?? {}).map(([name, flag]) => [name, Boolean(Number(flag))]));
  return Object.fromEntries(Object.entries(answer).map(([at, value]) => [at, flags(value)]));
}

/** Version of Proxmox VE, and the name of the lab when it is one: no real Proxmox VE says such a thing. */
export async function readVersion(pve: Proxmox): Promise<{ major: number; text: string; lab: string | undefined }> {
  const row = new Row(await pve.get("/version"), "/version");
  const text = row.text("version");
  return { major: Number.parseInt(text, 10), text, lab: row.maybeText("evergreen-lab") };
}

/** Everything that the token lacks for its purpose, for a refusal at program start: each with its path. */
export async function permissionProblems(pve: Proxmox, site: RightsSite, purpose: Purpose): Promise<Problem[]> {
  const [version, rights] = await Promise.all([readVersion(pve), readRights(pve)]);
  return missingRights(rights, neededRights(site, version, purpose)).map(({ path, anyOf, why }) => ({
    what: `the Proxmox token lacks ${anyOf.join(" or ")} (${why})`,
    where: path,
    todo: `give the token a role with ${anyOf[0] ?? ""} on ${path}, with propagation`,
  }));
}
