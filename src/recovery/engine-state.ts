import { readdirSync, readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { UserError, messageOf } from "../runtime/errors.ts";
import { notedEngine } from "../runtime/engine-notes.ts";
import { lifeOf } from "../runtime/process-identity.ts";

/** Name of the Pulumi project. */
export const PROJECT = "evergreen";

/** The lock of a stack, with the process that holds it. */
export interface EngineLock {
  pid: number;
  hostname: string;
  username: string;
  timestamp: string;
}

/** A pending create: the engine began it and did not see its end. */
export interface PendingCreate {
  urn: string;
  type: string;
  inputs: Record<string, unknown>;
}

/** The locks of a stack in a file backend. They do not expire: the lock of a killed engine stays. */
export function locksOf(backend: string, project: string, stack: string): EngineLock[] {
  const directory = join(backend, ".pulumi", "locks", "organization", project, stack);
  if (!isThere(directory)) return [];
  return readdirSync(directory)
    .filter((file) => file.endsWith(".json"))
    .map((file) => parseFile(join(directory, file), UNLOCK(stack)) as EngineLock);
}

/** @throws UserError when the file is cut off, as after a power cut or on a full disk */
function parseFile(file: string, todo: string): unknown {
  const bytes = readFileSync(file);
  try {
    return JSON.parse((file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString());
  } catch (error) {
    throw new UserError(
      { what: `what the engine has written is cut off or broken: ${messageOf(error)}`, where: file, todo },
      { cause: error },
    );
  }
}

const UNLOCK = (stack: string): string =>
  `see to it that no update of stack ${stack} runs, then take its lock away: npx pulumi cancel --yes ${stack}; then npx evergreen repair --stack ${stack}`;
const RESTORE =
  'make room on the disk, and put the former state in its place: the .bak beside it, or the newest one of .pulumi/backups (docs/recovery.md, "The state is lost or old")';

/** The state of a stack in a file backend; empty when the backend does not have the stack. */
export function stateIn(backend: string, project: string, stack: string): EngineState {
  const found = findStateFile(backend, project, stack);
  if (found === undefined) return stateOf(undefined);
  const { checkpoint } = parseFile(found, RESTORE) as { checkpoint?: { latest?: Deployment | null } };
  return stateOf(checkpoint?.latest);
}

/** The state of a stack in a file backend; undefined when the backend does not have the stack. */
export function findStateFile(backend: string, project: string, stack: string): string | undefined {
  const file = join(backend, ".pulumi", "stacks", project, `${stack}.json`);
  return [`${file}.gz`, file].find(isThere);
}

/** @throws Error when that cannot be told: a directory that may not be read, a share that does not answer */
function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * True when the process that holds the lock is certainly dead: it ran on this machine, in this pid namespace, and it is
 * gone. The same host name and a free pid are no proof: another container can have the same host name, with a live
 * engine of that pid.
 */
export function isDead({ hostname: host, pid, timestamp }: EngineLock): boolean {
  const engine = host === hostname() ? notedEngine(pid, Date.parse(timestamp)) : undefined;
  return engine !== undefined && lifeOf(engine) === "dead";
}

/** Parses the locks that the engine names when it refuses a locked stack. */
export function lockRefusal(words: string): EngineLock[] {
  return [...words.matchAll(/: created by (.*)@(.*) \(pid (\d+)\) at (\S+)$/gm)].map(
    ([, username = "", host = "", pid, timestamp = ""]) => ({ username, hostname: host, pid: Number(pid), timestamp }),
  );
}

/** The engine's state, as far as recovery needs it. */
export interface EngineState {
  pending: PendingCreate[];
  /** Node VMs whose deletion began and whose end the engine did not see. */
  deleting: KnownVm[];
  /** Node VMs that exist according to the state. */
  vms: KnownVm[];
  /**
   * Those of `vms` whose create made a VM and then failed, and that were never claimed. The provider never writes the
   * configuration that it did not write at that time.
   */
  unfinished: KnownVm[];
  /** URN of the stack itself, which belongs to no provider; empty: nothing was ever declared. */
  root: string[];
}

/** A VM as the engine's state has it. */
export interface KnownVm {
  /** As it was made: a refresh takes over the name of whatever VM has the number, and leaves the URN. */
  name: string;
  vmid: number;
  urn: string;
  /** Proxmox host that it was on when the engine last read it. */
  host?: string;
  /** Its claim or its join has succeeded: it was configured, and may be a member with the only copy of its data. */
  claimed?: true;
}

export const VM_TYPE = "proxmoxve:index/vmLegacy:VmLegacy";

interface StoredResource {
  type: string;
  urn: string;
  initErrors?: string[];
  outputs?: { vmId?: number; nodeName?: string; stdout?: unknown };
}

interface Deployment {
  pending_operations?: { type: string; resource: PendingCreate & StoredResource }[];
  resources?: StoredResource[];
}

/** @param exported as `pulumi stack export` prints it */
export function parseState(exported: string): EngineState {
  return stateOf((JSON.parse(exported) as { deployment: Deployment }).deployment);
}

function stateOf(deployment: Deployment | null | undefined): EngineState {
  const begun = deployment?.pending_operations ?? [];
  const resources = deployment?.resources ?? [];
  const claimed = claimedIn(resources);
  const vms = vmsOf(resources).map((vm) => (claimed.has(vm.vmid) ? { ...vm, claimed: true as const } : vm));
  const failed = new Set(resources.filter(({ initErrors = [] }) => initErrors.length > 0).map(({ urn }) => urn));
  return {
    pending: begun.filter(({ type }) => type === "creating").map(({ resource }) => resource),
    deleting: vmsOf(begun.filter(({ type }) => type === "deleting").map(({ resource }) => resource)),
    vms,
    unfinished: vms.filter((vm) => failed.has(vm.urn) && vm.claimed !== true),
    root: resources.filter(({ type }) => type === "pulumi:pulumi:Stack").map(({ urn }) => urn),
  };
}

/** VMIDs of the VMs whose claim or join has succeeded, from the output of these steps (src/steps/node/claimed.ts). */
function claimedIn(resources: readonly StoredResource[]): Set<number> {
  const steps = resources.filter(({ type, urn }) => type === "command:local:Command" && /-(claim|join)$/.test(urn));
  return new Set(
    steps.flatMap(({ outputs }) => {
      const vmid = /"vmid":(\d+)/.exec(typeof outputs?.stdout === "string" ? outputs.stdout : "")?.[1];
      return vmid === undefined ? [] : [Number(vmid)];
    }),
  );
}

function vmsOf(resources: readonly StoredResource[]): KnownVm[] {
  return resources
    .filter(({ type }) => type === VM_TYPE)
    .flatMap(({ urn, outputs: { vmId, nodeName } = {} }) => {
      if (vmId === undefined) return [];
      return [
        { name: urn.split("::").at(-1) ?? urn, vmid: vmId, urn, ...(nodeName === undefined ? {} : { host: nodeName }) },
      ];
    });
}
