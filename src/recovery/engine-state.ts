import { existsSync, readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { notedEngine } from "../runtime/engine-notes.ts";
import { lifeOf } from "../runtime/process-identity.ts";

/** Name of the Pulumi project. */
export const PROJECT = "evergreen";

/** Who holds the lock of a stack in a file backend. */
export interface EngineLock {
  pid: number;
  hostname: string;
  username: string;
  timestamp: string;
}

/** A create that the engine began and never saw the end of. */
export interface PendingCreate {
  urn: string;
  type: string;
  inputs: Record<string, unknown>;
}

/** The locks of a stack. The file backend's have no life of their own: those of a killed engine stay. */
export function locksOf(backend: string, project: string, stack: string): EngineLock[] {
  const directory = join(backend, ".pulumi", "locks", "organization", project, stack);
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((file) => file.endsWith(".json"))
    .map((file) => JSON.parse(readFileSync(join(directory, file), "utf8")) as EngineLock);
}

/** What the file backend keeps of a stack: nothing when it does not know the stack. */
export function stateIn(backend: string, project: string, stack: string): EngineState {
  const file = join(backend, ".pulumi", "stacks", project, `${stack}.json`);
  const text = existsSync(`${file}.gz`) ? gunzipSync(readFileSync(`${file}.gz`)).toString() : undefined;
  if (text === undefined && !existsSync(file)) return stateOf(undefined);
  const { checkpoint } = JSON.parse(text ?? readFileSync(file, "utf8")) as {
    checkpoint?: { latest?: Deployment | null };
  };
  return stateOf(checkpoint?.latest);
}

/**
 * True when the process of the lock is certainly dead: this machine ran it, where our pids count, and it is gone. A host name and
 * a pid that is free here say nothing: another container may have both, and its engine lives.
 */
export function isDead({ hostname: host, pid, timestamp }: EngineLock): boolean {
  const engine = host === hostname() ? notedEngine(pid, Date.parse(timestamp)) : undefined;
  return engine !== undefined && lifeOf(engine) === "dead";
}

/** The locks that the engine names when it refuses a stack that is locked. */
export function lockRefusal(words: string): EngineLock[] {
  return [...words.matchAll(/: created by (.*)@(.*) \(pid (\d+)\) at (\S+)$/gm)].map(
    ([, username = "", host = "", pid, timestamp = ""]) => ({ username, hostname: host, pid: Number(pid), timestamp }),
  );
}

/** What the engine believes. */
export interface EngineState {
  pending: PendingCreate[];
  /** Node VMs whose destruction was begun, and whose end the engine did not see. */
  deleting: KnownVm[];
  /** Node VMs that exist as far as the engine knows. */
  vms: KnownVm[];
  /**
   * Those of them whose create made something and failed, and which were never claimed: what was not written then, the provider
   * never writes again.
   */
  unfinished: KnownVm[];
}

/** A VM as the engine knows it. */
export interface KnownVm {
  name: string;
  vmid: number;
  urn: string;
  /** Proxmox host that it was on when the engine looked last. */
  host?: string;
  /** Its claim or its join has succeeded: it was configured, and may be a member whose data nothing else has. */
  claimed?: true;
}

export const VM_TYPE = "proxmoxve:index/vmLegacy:VmLegacy";

interface StoredResource {
  type: string;
  urn: string;
  initErrors?: string[];
  outputs?: { name?: string; vmId?: number; nodeName?: string; stdout?: unknown };
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
  };
}

/** Numbers of the VMs whose claim or join has succeeded, as these print it (src/steps/verbs/claim.ts). */
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
    .flatMap(({ urn, outputs: { name, vmId, nodeName } = {} }) => {
      if (name === undefined || vmId === undefined) return [];
      return [{ name, vmid: vmId, urn, ...(nodeName === undefined ? {} : { host: nodeName }) }];
    });
}
