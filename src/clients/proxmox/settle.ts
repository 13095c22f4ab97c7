import { DeadlineError, type Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxError } from "./errors.ts";
import { proveVm, type ExpectedVm } from "./identity.ts";
import { vmTags } from "../../domain/model/formats.ts";
import { hasMemberTag, tagsChange } from "./tags.ts";
import { vmPath, type VmConfig } from "./vms.ts";

/** Proxmox does not let the VM be changed now. Nothing was done to it, and the image is not at fault. */
export class VmBusy extends UserError {}

/** What shows that a VM is a node of a cluster, also when it is off and no API server answers. */
export interface Standing {
  /** Whether it starts with its host: people switch that off, as for a planned shutdown. */
  onBoot: boolean;
  /** Whether it has the tag of a member, which only a decommissioning takes off. */
  hasMemberTag: boolean;
  /** Tag with the uid of its cluster, which it keeps for good. @default none is given */
  uidTag?: string;
}

/** The standing of a VM as it was read. */
export function standingOf({ onBoot, tags }: Pick<VmConfig, "onBoot" | "tags">): Standing {
  return { onBoot, hasMemberTag: hasMemberTag(tags) };
}

/**
 * Writes the standing of a VM in one request, on the host where the VM is now, and as soon as Proxmox accepts the write.
 * A backup, a snapshot or a migration locks a VM, which may be elsewhere afterwards, and a Proxmox cluster without a
 * quorum accepts no write at all. Each try is bound by its digest to the VM that was proved right before.
 * @param config the VM that was proved
 * @param mayWrite called before each try, so that whatever decides on the write is read after the wait for a lock. It
 *   throws when the write may not be made any more
 * @returns the VM that was proved right before the write that was accepted
 * @throws VmBusy with the reason, when the write was not accepted in time
 * @throws IdentityError when the VM has become another one meanwhile
 */
export async function writeStanding(
  pve: Proxmox,
  config: VmConfig,
  expected: ExpectedVm,
  standing: Standing,
  deadline: Deadline,
  mayWrite: () => Promise<void> = () => Promise.resolve(),
): Promise<VmConfig> {
  let now = config;
  let why = "";
  const written = deadline.poll(
    1000,
    async () => {
      if (now.lock === undefined) await mayWrite();
      const held = now.lock === undefined ? await tryWrite(pve, now, standing) : lockedWords(now.lock);
      if (held === undefined) return now;
      if (held !== why) say(`${expected.name}: ${held}; it is waited for`);
      why = held;
      now = await proveVm(pve, now.host, expected);
      return undefined;
    },
    () => why,
  );
  return await written.catch((error: unknown) => {
    throw error instanceof DeadlineError ? busy(now, deadline, why) : error;
  });
}

/** Waits until Proxmox has no lock on a VM. @returns the VM as it is then, with its host */
export async function awaitUnlocked(
  pve: Proxmox,
  config: VmConfig,
  expected: ExpectedVm,
  deadline: Deadline,
): Promise<VmConfig> {
  let now = config;
  if (now.lock === undefined) return now;
  say(`${expected.name}: ${lockedWords(now.lock)}; it is waited for`);
  const free = deadline.poll(1000, async () => {
    now = await proveVm(pve, now.host, expected);
    return now.lock === undefined ? now : undefined;
  });
  return await free.catch((error: unknown) => {
    throw error instanceof DeadlineError ? busy(now, deadline, lockedWords(now.lock ?? "")) : error;
  });
}

/** @returns why the write was refused, when the reason may pass */
async function tryWrite(pve: Proxmox, config: VmConfig, standing: Standing): Promise<string | undefined> {
  try {
    await pve.put(`${vmPath(config)}/config`, { ...changeTo(standing, config), digest: config.digest });
    return undefined;
  } catch (error) {
    if (!(error instanceof ProxmoxError) || error.status !== 500) throw error;
    const lock = /VM is locked \(([^)]+)\)/.exec(error.reason)?.[1];
    if (lock !== undefined) return lockedWords(lock);
    // In that case the cluster's file system is read-only.
    if (/\/etc\/pve\/\S+' - Permission denied/.test(error.reason))
      return "Proxmox takes no writes: its cluster has no quorum";
    if (error.missingVm) return "it is not on that Proxmox host any more";
    return `Proxmox did not take a write: ${error.reason}`;
  }
}

function changeTo({ onBoot, hasMemberTag, uidTag }: Standing, config: VmConfig): Record<string, string | boolean> {
  const isLacking = uidTag !== undefined && !config.tags.includes(uidTag);
  if (standingOf(config).hasMemberTag === hasMemberTag && !isLacking) return { onboot: onBoot };
  const others = config.tags.filter((tag) => tag !== vmTags.member);
  const tags = [...others, ...(hasMemberTag ? [vmTags.member] : []), ...(isLacking ? [uidTag] : [])];
  return { onboot: onBoot, ...tagsChange(tags) };
}

const lockedWords = (lock: string): string => `Proxmox has locked its VM (${lock})`;

function busy({ name, vmid, host }: VmConfig, { seconds }: Deadline, why: string): VmBusy {
  return new VmBusy({
    what: `${name} cannot be changed now: ${why}, for ${String(seconds)} s`,
    where: `VM ${vmid} on ${host}`,
    todo: "let the task of Proxmox that holds it end (a lock that a broken task left: qm unlock), or bring its quorum back (pvecm status), then run again: nothing was judged",
  });
}
