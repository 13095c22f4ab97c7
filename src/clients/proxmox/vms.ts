import { UserError } from "../../runtime/errors.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxAnswerError, ProxmoxError, silentHostOf } from "./errors.ts";
import { Row } from "./parse.ts";
import { splitTags } from "./tags.ts";

/** A VM as the list of the whole data centre shows it. The list is a cache of Proxmox: seconds old, and thin for a new VM. */
export interface ListedVm {
  vmid: number;
  /** Proxmox host that it is on now. */
  host: string;
  /** Absent while Proxmox has no status of it yet. */
  name: string | undefined;
  /** `unknown`: only its host can say, because the list has no status of it yet, or one of its in-between words. */
  status: "running" | "stopped" | "unknown";
  /** The list's own word when it is neither of the two: `paused`, `prelaunch`, `io-error`, `inmigrate` and what else comes. */
  state?: string;
  template: boolean;
  tags: string[];
  /** Proxmox pool. */
  pool: string | undefined;
}

/** The configuration of a VM, as far as it concerns us. */
export interface VmConfig {
  vmid: number;
  host: string;
  name: string;
  /** SMBIOS uuid, lower case. */
  uuid: string;
  tags: string[];
  template: boolean;
  onBoot: boolean;
  /** What Proxmox is doing to it (`clone`, `backup`, ...); undefined: nothing. */
  lock?: string;
  /** Nobody can destroy it before somebody takes that back. */
  isProtected?: true;
  /** Fingerprint of the configuration: a write that carries it is refused when anything changed since. */
  digest: string;
}

/** The API path of a VM. */
export function vmPath(vm: { host: string; vmid: number }): string {
  return `/nodes/${vm.host}/qemu/${vm.vmid}`;
}

/** Every VM that the token can see, in the whole data centre. Containers are left out. */
export async function listVms(pve: Proxmox): Promise<ListedVm[]> {
  const path = "/cluster/resources";
  const rows = Row.list(await pve.get(path, { type: "vm" }), path);
  return rows.filter((row) => row.text("type") === "qemu").map(listed);
}

/** Since pve-manager 9 the list repeats QEMU's own word: no VM's state may end a run that does not concern it. */
function listed(row: Row): ListedVm {
  const word = row.text("status");
  const status = word === "running" || word === "stopped" ? word : "unknown";
  return {
    vmid: row.number("vmid"),
    host: row.text("node"),
    name: row.maybeText("name"),
    status,
    ...(status === word || word === "unknown" ? {} : { state: word }),
    template: row.flag("template"),
    tags: splitTags(row.maybeText("tags") ?? ""),
    pool: row.maybeText("pool"),
  };
}

/**
 * Of some VMIDs, those that are taken. The list of VMs shows only what the token may see; a stranger's VM in our range is
 * known by this question alone.
 */
export async function takenAmong(pve: Proxmox, vmids: readonly number[]): Promise<number[]> {
  const taken = await Promise.all(vmids.map((vmid) => isTaken(pve, vmid)));
  return vmids.filter((_, index) => taken[index]);
}

/** What the list has under some numbers, by name also where it has none. */
export async function listByNumber(pve: Proxmox, vms: readonly { vmid: number }[]): Promise<ListedVm[]> {
  const wanted = new Set(vms.map(({ vmid }) => vmid));
  const listed = (await listVms(pve)).filter(({ vmid }) => wanted.has(vmid));
  return await Promise.all(listed.map((vm) => withName(pve, vm)));
}

/**
 * The list has no name of a VM that is seconds old, or while the statistics of its host do not come: its host is asked then. One
 * that cannot be read stays without a name.
 */
async function withName(pve: Proxmox, vm: ListedVm): Promise<ListedVm> {
  if (vm.name !== undefined) return vm;
  try {
    const { name, tags } = await readVm(pve, vm);
    return { ...vm, name, tags };
  } catch (error) {
    if (!(error instanceof ProxmoxError)) throw error;
    return vm;
  }
}

/**
 * Of some VMs, those that are not in the list, and whatever has the numbers of the others, by name also where the list has none. A pool's token is refused a VM that is gone like one that was never ours
 * (403), so the refusal says nothing: a number that nobody has is gone, one that somebody has may be that VM or another.
 * @throws UserError when the token may not see the pool
 */
export async function unseenAmong<Vm extends { vmid: number }>(
  pve: Proxmox,
  pool: string,
  vms: readonly Vm[],
): Promise<{ gone: Vm[]; hidden: Vm[]; seen: ListedVm[] }> {
  await requireSight(pve, pool);
  const seen = await listByNumber(pve, vms);
  const numbersSeen = new Set(seen.map(({ vmid }) => vmid));
  const unseen = vms.filter(({ vmid }) => !numbersSeen.has(vmid));
  const numbers = unseen.map(({ vmid }) => vmid);
  const taken = new Set(await takenAmong(pve, numbers));
  return {
    gone: unseen.filter(({ vmid }) => !taken.has(vmid)),
    hidden: unseen.filter(({ vmid }) => taken.has(vmid)),
    seen,
  };
}

async function isTaken(pve: Proxmox, vmid: number): Promise<boolean> {
  try {
    await pve.get("/cluster/nextid", { vmid });
    return false;
  } catch (error) {
    if (error instanceof ProxmoxError && error.status === 400 && "vmid" in error.errors) return true;
    throw error;
  }
}

/** @throws ProxmoxError when there is no such VM on that host */
export async function readVm(pve: Proxmox, vm: { host: string; vmid: number }): Promise<VmConfig> {
  const path = `${vmPath(vm)}/config`;
  const row = new Row(await pve.get(path), path);
  const uuid = /(?:^|,)uuid=([0-9a-fA-F-]{36})/.exec(row.maybeText("smbios1") ?? "")?.[1];
  return {
    vmid: vm.vmid,
    host: vm.host,
    name: row.maybeText("name") ?? "",
    uuid: uuid?.toLowerCase() ?? "",
    tags: splitTags(row.maybeText("tags") ?? ""),
    template: row.flag("template"),
    onBoot: row.flag("onboot"),
    ...(row.maybeText("lock") === undefined ? {} : { lock: row.text("lock") }),
    ...(row.flag("protection") ? { isProtected: true } : {}),
    digest: row.text("digest"),
  };
}

interface Vm {
  host: string;
  vmid: number;
}

/**
 * Asks a VM on the host where it was last, or on the one that has it now: an administrator, or Proxmox's HA, may have moved
 * it since it was listed.
 */
export async function whereItIs<T>(pve: Proxmox, vm: Vm, ask: (vm: Vm) => Promise<T>): Promise<T> {
  try {
    return await ask(vm);
  } catch (error) {
    if (!(error instanceof ProxmoxError) || !error.missingVm) throw error;
    const now = (await listVms(pve)).find(({ vmid }) => vmid === vm.vmid);
    if (now === undefined || now.host === vm.host) throw error;
    return await ask({ ...vm, host: now.host });
  }
}

/** Power of a VM, as its host says. */
export interface Power {
  running: boolean;
  /** QEMU's word when it is neither running nor stopped: `paused`, `io-error`, `inmigrate`, ... */
  state?: string;
  /** How long its QEMU has run, in seconds: a reboot of the guest does not end that, a start or a migration does. */
  upSeconds?: number;
}

/**
 * Asks the host, because the list is seconds old. Where there is a process but no guest yet (`prelaunch`: the backup of a VM
 * that is off) nothing runs.
 */
export async function readPower(pve: Proxmox, vm: Vm): Promise<Power> {
  return await whereItIs(pve, vm, (now) => powerThere(pve, now));
}

async function powerThere(pve: Proxmox, vm: Vm): Promise<Power> {
  const path = `${vmPath(vm)}/status/current`;
  const row = new Row(await pve.get(path), path);
  const status = row.text("status");
  if (status !== "running" && status !== "stopped") throw new ProxmoxAnswerError(path, `the status "${status}"`);
  const word = row.maybeText("qmpstatus") ?? status;
  return {
    running: status === "running" && word !== "prelaunch",
    ...(word === status ? {} : { state: word }),
    ...(row.maybeText("uptime") === undefined ? {} : { upSeconds: row.number("uptime") }),
  };
}

/** Whether the VM runs, asked of its host and not of the list. */
export async function isRunning(pve: Proxmox, vm: { host: string; vmid: number }): Promise<boolean> {
  return (await readPower(pve, vm)).running;
}

/** Whether the host of a VM does not answer, asked and asked again. Another refusal is an answer. */
export async function isHostSilent(pve: Proxmox, vm: { host: string; vmid: number }): Promise<boolean> {
  return await isRunning(pve, vm).then(
    () => false,
    (error: unknown) => silentHostOf(error) !== undefined,
  );
}

/**
 * Proves that the token may see the VMs of a pool. Proxmox answers a list request without rights by a shorter list, so
 * "it is not in the list" means nothing before this was asked.
 */
export async function requireSight(pve: Proxmox, pool: string): Promise<void> {
  const path = `/pool/${pool}`;
  const answer = await pve.get("/access/permissions", { path });
  const rights = typeof answer === "object" && answer !== null ? (answer as Record<string, unknown>)[path] : undefined;
  if (typeof rights === "object" && rights !== null && "VM.Audit" in rights) return;
  throw new UserError({
    what: "the token may not see the VMs of the pool, so nothing can be said of them",
    where: `${path}, VM.Audit`,
    todo: `give the token the privilege VM.Audit on ${path}, with propagation`,
  });
}
