import { furtherDisksOf } from "../../domain/drain/added-disks.ts";
import { isAdopted } from "../../domain/model/generation.ts";
import type { VmDisk } from "../../domain/model/types.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxAnswerError, ProxmoxError, silentHostOf } from "./errors.ts";
import { Row } from "./parse.ts";
import { nodeNameIn, nodeTags, splitTags } from "./tags.ts";

/**
 * A VM in the list of the whole data centre. The list is a cache of Proxmox: seconds old, and incomplete for a new VM.
 */
export interface ListedVm {
  vmid: number;
  /** Proxmox host that the VM is on now. */
  host: string;
  /** Undefined: only the VM's host knows, as `status` says. Whether the VM has a certain name says {@link isCalled}. */
  name: string | undefined;
  /** `unknown`: only the VM's host knows, because the list has no status of it yet, or an intermediate one. */
  status: "running" | "stopped" | "unknown";
  /**
   * The list's own status when it is neither of the two: `paused`, `prelaunch`, `io-error`, `inmigrate` or another one.
   */
  state?: string;
  template: boolean;
  tags: string[];
  /** Proxmox pool. */
  pool: string | undefined;
}

/** The parts of a VM's configuration that we use. */
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
  /** The VM cannot be destroyed until its protection is removed. */
  isProtected?: true;
  /** Disks beside its system disk that are destroyed with it. @default none */
  furtherDisks?: VmDisk[];
  /** Fingerprint of the configuration: a write that carries it is refused when the configuration has changed since. */
  digest: string;
}

/** The API path of a VM. */
export function vmPath(vm: { host: string; vmid: number }): string {
  return `/nodes/${vm.host}/qemu/${vm.vmid}`;
}

/** Every VM that the token can see, in the whole data centre, without containers. */
export async function listVms(pve: Proxmox): Promise<ListedVm[]> {
  const path = "/cluster/resources";
  const rows = Row.list(await pve.get(path, { type: "vm" }), path);
  return rows.filter((row) => row.text("type") === "qemu").map(listed);
}

/**
 * Since pve-manager 9 the list repeats QEMU's own status: an unknown one must not end a run that does not concern that
 * VM.
 */
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
 * Whether a VM has the name of a node. The list has no name of a VM that is seconds old, or whose host reports no
 * statistics or does not answer; tags it always has, and they name the node, also one that was adopted.
 */
export function isCalled({ name, tags }: Pick<ListedVm, "name" | "tags">, node: string): boolean {
  if (name !== undefined) return name === node;
  const said = nodeTags(tags);
  return said !== undefined && (nodeNameIn(said) === node || isAdopted({ ...said, name: node }));
}

/** The Proxmox host of a node's VM. */
export function hostOfNode(vms: readonly ListedVm[], node: string): string | undefined {
  return vms.find((vm) => isCalled(vm, node))?.host;
}

/**
 * The VMIDs, of those given, that are in use. The list of VMs shows only what the token may see; only this request
 * reveals a VM in our range that is not ours.
 */
export async function findTaken(pve: Proxmox, vmids: readonly number[]): Promise<number[]> {
  const taken = await Promise.all(vmids.map((vmid) => isTaken(pve, vmid)));
  return vmids.filter((_, index) => taken[index]);
}

/** The list's entries for some VMIDs, with names even where the list has none. */
export async function listByNumber(pve: Proxmox, vms: readonly { vmid: number }[]): Promise<ListedVm[]> {
  const wanted = new Set(vms.map(({ vmid }) => vmid));
  return await listNamed(pve, ({ vmid }) => wanted.has(vmid));
}

/** The list's entries that are wanted, with names even where the list has none. */
export async function listNamed(pve: Proxmox, isWanted: (vm: ListedVm) => boolean): Promise<ListedVm[]> {
  return await Promise.all((await listVms(pve)).filter(isWanted).map((vm) => withName(pve, vm)));
}

/**
 * The list has no name of a VM that is seconds old, or whose host reports no statistics, and does not know whether it is
 * a template: its host is asked then. A VM that cannot be read stays without a name.
 */
export async function withName(pve: Proxmox, vm: ListedVm): Promise<ListedVm> {
  if (vm.name !== undefined) return vm;
  try {
    const { name, tags, template } = await readVm(pve, vm);
    return { ...vm, name, tags, template };
  } catch (error) {
    if (!(error instanceof ProxmoxError)) throw error;
    return vm;
  }
}

/**
 * Sorts VMs by whether the list shows their VMIDs. `seen`: the VMs that have these VMIDs, with names even where the
 * list has none. `gone`: VMs whose VMID is unused. `hidden`: VMs whose VMID is used by a VM that the token does not
 * see, which may be that VM or another. Reading a VM does not decide this: Proxmox refuses a pool's token a VM that is
 * gone in the same way as a VM that was never ours (403).
 * @throws UserError when the token may not see the pool
 */
export async function findUnseen<Vm extends { vmid: number }>(
  pve: Proxmox,
  pool: string,
  vms: readonly Vm[],
): Promise<{ gone: Vm[]; hidden: Vm[]; seen: ListedVm[] }> {
  await requireSight(pve, pool);
  const seen = await listByNumber(pve, vms);
  const numbersSeen = new Set(seen.map(({ vmid }) => vmid));
  const unseen = vms.filter(({ vmid }) => !numbersSeen.has(vmid));
  const numbers = unseen.map(({ vmid }) => vmid);
  const taken = new Set(await findTaken(pve, numbers));
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

/** @throws ProxmoxError when the VM does not exist on that host */
export async function readVm(pve: Proxmox, vm: { host: string; vmid: number }): Promise<VmConfig> {
  return vmConfigOf(await readConfig(pve, vm), vm);
}

/** Reads the whole configuration of a VM. @throws ProxmoxError when the VM does not exist on that host */
export async function readConfig(pve: Proxmox, vm: { host: string; vmid: number }): Promise<Row> {
  const path = `${vmPath(vm)}/config`;
  return new Row(await pve.get(path), path);
}

/** The parts that we use of a configuration that was read. */
export function vmConfigOf(row: Row, vm: { host: string; vmid: number }): VmConfig {
  const furtherDisks = furtherDisksOf(row.texts(), vm.vmid);
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
    ...(furtherDisks.length > 0 ? { furtherDisks } : {}),
    digest: row.text("digest"),
  };
}

interface Vm {
  host: string;
  vmid: number;
}

/**
 * Sends a request about a VM to the host where it was last, or to the one that it is on now: an administrator, or
 * Proxmox's HA, may have moved it since it was listed.
 */
export async function askWhereItIs<T>(pve: Proxmox, vm: Vm, ask: (vm: Vm) => Promise<T>): Promise<T> {
  try {
    return await ask(vm);
  } catch (error) {
    if (!(error instanceof ProxmoxError) || !error.missingVm) throw error;
    const now = (await listVms(pve)).find(({ vmid }) => vmid === vm.vmid);
    if (now === undefined || now.host === vm.host) throw error;
    return await ask({ ...vm, host: now.host });
  }
}

/** Power state of a VM, as its host reports it. */
export interface Power {
  running: boolean;
  /** QEMU's status when it is neither running nor stopped: `paused`, `io-error`, `inmigrate`, ... */
  state?: string;
  /**
   * How long the VM's QEMU process has run, in seconds: a reboot of the guest does not reset it, a start or a migration
   * does.
   */
  upSeconds?: number;
  /** HA has given the VM up: Proxmox neither starts nor stops it until an operator has seen to that. */
  isGivenUpByHa?: true;
}

/**
 * Reads the power state from the host, because the list is seconds old. A QEMU process without a guest (`prelaunch`:
 * the backup of a VM that is off) does not count as running.
 */
export async function readPower(pve: Proxmox, vm: Vm): Promise<Power> {
  return await askWhereItIs(pve, vm, (now) => readPowerAt(pve, now));
}

async function readPowerAt(pve: Proxmox, vm: Vm): Promise<Power> {
  const path = `${vmPath(vm)}/status/current`;
  const row = new Row(await pve.get(path), path);
  const status = row.text("status");
  if (status !== "running" && status !== "stopped") throw new ProxmoxAnswerError(path, `the status "${status}"`);
  const word = row.maybeText("qmpstatus") ?? status;
  return {
    running: status === "running" && word !== "prelaunch",
    ...(word === status ? {} : { state: word }),
    ...(row.maybeRow("ha")?.maybeText("state") === "error" ? { isGivenUpByHa: true } : {}),
    ...(row.maybeText("uptime") === undefined ? {} : { upSeconds: row.number("uptime") }),
  };
}

/** Whether the VM runs, as its host reports it, not the list. */
export async function isRunning(pve: Proxmox, vm: { host: string; vmid: number }): Promise<boolean> {
  return (await readPower(pve, vm)).running;
}

/** Whether the host of a VM does not answer, even after retries. Any other refusal is an answer. */
export async function isHostSilent(pve: Proxmox, vm: { host: string; vmid: number }): Promise<boolean> {
  return await isRunning(pve, vm).then(
    () => false,
    (error: unknown) => silentHostOf(error) !== undefined,
  );
}

/**
 * Proves that the token may see the VMs of a pool. Without rights, Proxmox answers a list request with a shorter list,
 * so the absence of a VM from the list means nothing before this check.
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
