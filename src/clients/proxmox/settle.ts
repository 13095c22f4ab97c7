import { DeadlineError, type Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxError } from "./errors.ts";
import { proveVm, type ExpectedVm } from "./identity.ts";
import { setOnBoot } from "./power.ts";
import type { VmConfig } from "./vms.ts";

/** Proxmox does not let the VM be changed now. Nothing was done to it, and the image is not at fault. */
export class VmBusy extends UserError {}

/**
 * Writes whether a VM starts with its host, on the host where the VM is now, and as soon as Proxmox accepts the write.
 * A backup, a snapshot or a migration locks a VM, which may be elsewhere afterwards, and a Proxmox cluster without a
 * quorum accepts no write at all. Each try is bound by its digest to the VM that was proved right before.
 * @param config the VM that was proved
 * @returns the VM that was proved right before the write that was accepted
 * @throws VmBusy with the reason, when the write was not accepted in time
 * @throws IdentityError when the VM has become another one meanwhile
 */
export async function writeOnBoot(
  pve: Proxmox,
  config: VmConfig,
  expected: ExpectedVm,
  onBoot: boolean,
  deadline: Deadline,
): Promise<VmConfig> {
  let now = config;
  let why = "";
  const written = deadline.poll(
    1000,
    async () => {
      const held = now.lock === undefined ? await tryWriteOnBoot(pve, now, onBoot) : lockedWords(now.lock);
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
async function tryWriteOnBoot(pve: Proxmox, config: VmConfig, onBoot: boolean): Promise<string | undefined> {
  try {
    await setOnBoot(pve, config, onBoot, config.digest);
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

const lockedWords = (lock: string): string => `Proxmox has locked its VM (${lock})`;

function busy({ name, vmid, host }: VmConfig, { seconds }: Deadline, why: string): VmBusy {
  return new VmBusy({
    what: `${name} cannot be changed now: ${why}, for ${String(seconds)} s`,
    where: `VM ${vmid} on ${host}`,
    todo: "let the task of Proxmox that holds it end (a lock that a broken task left: qm unlock), or bring its quorum back (pvecm status), then run again: nothing was judged",
  });
}
