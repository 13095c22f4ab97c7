import { guest } from "../../../images/contract.ts";
import { isAgentSilent, isNoSuchFile, readFile, withAgent, writeFile } from "../../clients/proxmox/agent.ts";
import type { Proxmox } from "../../clients/proxmox/client.ts";
import {
  filesOf,
  isReloading,
  notAsked,
  readFailure,
  readLoaded,
  hasReloadOrder,
} from "../../clients/proxmox/guest-registries.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import type { Registries } from "../../domain/model/registries.ts";
import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { StepContext } from "../context.ts";

/** RKE2 has ended several times instead of starting with its registries. The service manager tries it again. */
export class RegistriesRefused extends UserError {}

/**
 * Writes registries.yaml into a guest, and before it what it names. RKE2 reads it when it starts; until then
 * `registriesLoaded` names no registries, whatever ends this in between.
 * @param runs whether RKE2 may run: then it has not read them
 * @throws UserError when the image lacks a file that it names
 */
export async function writeRegistries(
  pve: Proxmox,
  vm: VmConfig,
  registries: Registries,
  runs: boolean,
): Promise<void> {
  const { pems, yaml, digest, expected } = filesOf(registries);
  const loaded = await readLoaded(pve, vm);
  if (loaded === digest) return;
  for (const path of expected) await requireFile(pve, vm, path);
  // Empty, it may be that of a restart which is still to come.
  if (loaded !== "" || (runs && !(await isReloading(pve, vm))))
    await writeFile(pve, vm, guest.registriesLoaded, notAsked);
  for (const { path, content } of pems) await writeFile(pve, vm, path, content);
  await writeFile(pve, vm, guest.registries, yaml);
  if (!runs) await writeFile(pve, vm, guest.registriesLoaded, digest);
}

/** Whether a guest whose join data name no registries any more has to forget those that it was given. */
export async function hasForgettable(pve: Proxmox, vm: VmConfig): Promise<boolean> {
  return (await readLoaded(pve, vm)) !== "" && !(await hasReloadOrder(pve, vm));
}

/**
 * Keeps in mind that the join data of a guest name no registries any more: RKE2 reads those of its image when it starts
 * the next time, unless the unit has put others in their place.
 */
export async function forgetRegistries(pve: Proxmox, vm: VmConfig): Promise<void> {
  if (await hasForgettable(pve, vm)) await writeFile(pve, vm, guest.registriesLoaded, "");
}

async function requireFile(pve: Proxmox, vm: VmConfig, path: string): Promise<void> {
  await readFile(pve, vm, path).catch((error: unknown) => {
    if (!isNoSuchFile(error)) throw error;
    throw new UserError({
      what: `the guest of ${vm.name} has no ${path}, and evergreen:registries names it`,
      where: path,
      todo: "put the file into the image, or give its content to Evergreen: ca, cert and key take PEM. The image was not judged",
    });
  });
}

/**
 * Gives a guest that runs other registries. RKE2 reads them when it starts the next time.
 * @param vm as it was proved; proved again after each time that the guest was frozen
 * @param mayBegin throws when nothing may be changed
 */
export async function bringRegistries(
  { pve, stop }: StepContext,
  vm: VmConfig,
  registries: Registries,
  mayBegin: () => Promise<void>,
): Promise<void> {
  await withAgent(vm.name, stop, async () => {
    await mayBegin();
    await proveVm(pve, vm.host, { ...vm, tags: [] });
    await writeRegistries(pve, vm, registries, true);
  });
}

/**
 * Has the unit of a guest restart RKE2 with the registries that it was given, and waits until it has started.
 * @param mayRestart throws when RKE2 may not be restarted any more; called right before it is asked for, because what
 *   comes before may have waited for a host that did not answer
 * @throws RegistriesRefused when RKE2 does not start with them; DeadlineError when it has not started in time
 */
export async function applyRegistries(
  { pve, stop }: StepContext,
  vm: VmConfig,
  registries: Registries,
  seconds: number,
  mayRestart: () => Promise<void>,
): Promise<void> {
  const { digest } = filesOf(registries);
  await withAgent(vm.name, stop, async () => {
    await proveVm(pve, vm.host, { ...vm, tags: [] });
    // Of an earlier attempt, or of this one, whose answer was lost.
    if ((await readLoaded(pve, vm)) === digest) return;
    await writeFile(pve, vm, guest.registriesFailed, "");
    await writeFile(pve, vm, guest.registriesLoaded, "");
    await mayRestart();
    await writeFile(pve, vm, guest.registriesReload, digest);
  });
  const deadline = new Deadline(`RKE2 of ${vm.name} to start with its registries`, seconds, stop);
  await deadline.poll(
    500,
    async () => {
      try {
        if ((await readLoaded(pve, vm)) === digest) return true;
        const log = await readFailure(pve, vm, digest);
        if (log) throw refused(vm, log);
      } catch (error) {
        if (!isAgentSilent(error)) throw error;
      }
      return undefined;
    },
    () =>
      `${guest.registriesLoaded} does not say so: see journalctl -u evergreen-registries, and of rke2-server or rke2-agent`,
  );
}

function refused({ name, vmid, host }: VmConfig, log: readonly string[]): RegistriesRefused {
  const end = log.slice(-logLines);
  say([`the end of RKE2's log on ${name}:`, ...end.map((line) => `  | ${line}`)].join("\n"));
  return new RegistriesRefused({
    what: `RKE2 of ${name} does not start with its registries: ${end.at(-1) ?? "its log is empty"}`,
    where: `VM ${vmid} on ${host}, ${guest.registriesFailed}`,
    todo: "correct evergreen:registries, or put it back as it was, and run pulumi up",
  });
}

const logLines = 15;
