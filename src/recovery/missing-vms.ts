import { UserError, UserErrors } from "../runtime/errors.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import { Proxmox } from "../clients/proxmox/client.ts";
import { nodeTags } from "../clients/proxmox/tags.ts";
import { unseenAmong, type ListedVm } from "../clients/proxmox/vms.ts";
import { shortList } from "../domain/drain/local-data.ts";
import { hasJoined } from "../domain/rollout/slot-state.ts";
import { hiddenVmProblems } from "../domain/rollout/hidden-vms.ts";
import type { EngineState } from "./engine-state.ts";
import { stackConfig } from "../config/stack-config.ts";

type Vm = EngineState["vms"][number];

/**
 * VMs that the engine knows and that are gone, on another Proxmox host than it remembers, or not as it made them, by one look
 * at the list of VMs.
 * None when it cannot be looked: the program looks too, does not start either, and says why in full.
 * @throws UserErrors when a number of the engine's is somebody else's, or one of its VMs is out of the token's sight
 */
export async function findMissingVms(
  stack: string,
  environment: NodeJS.ProcessEnv,
  known: readonly Vm[],
): Promise<{ gone: Vm[]; moved: Vm[]; unconfigured: Vm[] }> {
  const found = known.length === 0 ? undefined : await look(stack, environment, known).catch(() => undefined);
  if (found === undefined) return { gone: [], moved: [], unconfigured: [] };
  refuseStrangers(known, found.seen);
  refuseHidden(found.hidden);
  const { gone, seen } = found;
  return { gone, moved: movedAmong(known, seen), unconfigured: unconfiguredAmong(known, seen) };
}

/**
 * Clones that were never configured: the engine has them by name and number, and they are off without tags of ours. The
 * provider keeps in mind that it has written what Proxmox refused, and writes it never again. One that was claimed had its tags
 * then: somebody has taken them away since.
 */
export function unconfiguredAmong(known: readonly Vm[], list: readonly ListedVm[]): Vm[] {
  const isBare = (vm: ListedVm) => vm.status === "stopped" && nodeTags(vm.tags) === undefined;
  return known.filter(
    ({ vmid, name, claimed }) =>
      claimed !== true && list.some((vm) => vm.vmid === vmid && vm.name === name && isBare(vm)),
  );
}

/** VMs that were migrated since the engine looked: it would look for them, and destroy them, where they are not. */
export function movedAmong(known: readonly Vm[], list: readonly ListedVm[]): Vm[] {
  return known.filter(({ vmid, host }) =>
    list.some((vm) => vm.vmid === vmid && host !== undefined && vm.host !== host),
  );
}

async function look(stack: string, environment: NodeJS.ProcessEnv, known: readonly Vm[]) {
  const { site } = await stackConfig(stack);
  const pve = Proxmox.fromEnvironment(environment);
  return await unseenAmong(pve, site.proxmoxPool, known).finally(() => pve.close());
}

/**
 * What the token cannot see is not gone, and a refresh of the engine would forget it for ever. Nor can the engine do anything
 * with it: Proxmox refuses the token whatever it asks of such a VM.
 * @throws UserErrors that names every VM
 */
export function refuseHidden(hidden: readonly Vm[]): void {
  if (hidden.length > 0) throw new UserErrors(hidden.map(hiddenVmProblems));
}

/**
 * The engine destroys by number, and a clone of which nobody recorded a uuid is known by nothing else. One with our tags and
 * another name, or with our name and another uuid, is for the program to judge.
 * @throws UserErrors that names every VM that has a number of the engine's, and neither the name nor tags of ours
 */
export function refuseStrangers(known: readonly Pick<Vm, "name" | "vmid">[], list: readonly ListedVm[]): void {
  const strangers = known.flatMap(({ vmid, name }) =>
    list
      .filter((vm) => vm.vmid === vmid && vm.name !== name && nodeTags(vm.tags) === undefined)
      .map((vm) => ({
        what: `VM ${vmid} is not ${name} any more: it is called ${vm.name ?? "nothing yet"} and has not our tags`,
        where: `VM ${vmid} on ${vm.host}; the state of the engine has it as ${name}`,
        todo: "nothing was begun: the engine would destroy it in the place of ours. If it is a stranger's, move it to another number, then run `npx evergreen repair`; if it is ours, give it back its name and its tags",
      })),
  );
  if (strangers.length > 0) throw new UserErrors(strangers);
}

/**
 * All of a stack's VMs gone at once, and no cluster that answers, is what another Proxmox VE looks like too, whose pool and token
 * may have the same names: the numbers are free there.
 * @throws UserError then: an operator's word is about VMs, and not about a site
 */
export function refuseAnotherSite(
  gone: readonly Vm[],
  seen: readonly ListedVm[],
  { pve, observed: { kubernetes } }: { pve: Pick<Proxmox, "endpoint">; observed: Pick<ObservedCluster, "kubernetes"> },
): void {
  if (kubernetes !== undefined || gone.length === 0 || seen.length > 0) return;
  throw new UserError({
    what: `none of the ${gone.length} VMs that the engine remembers is in this Proxmox VE, and no cluster answers`,
    where: `${pve.endpoint}: ${shortList(gone.map(({ name, vmid }) => `VM ${vmid} (${name})`))}`,
    todo: "nothing was forgotten. Look whether PROXMOX_VE_ENDPOINT is that of this stack's site; when all of them were deleted there, npx pulumi refresh has the engine forget them",
  });
}

/**
 * Whether the engine may forget VMs that are gone without being asked. Not when one was a member: the program refuses to
 * start without it, and `evergreen repair` heals that when an operator asks. Without a way into the cluster nobody knows.
 */
export function mayForget(gone: readonly Pick<Vm, "name">[], { kubernetes, nodes, records }: ObservedCluster): boolean {
  if (!kubernetes) return false;
  const remembered = [...records.values()].flatMap((record) => record.nodes);
  const members = remembered.filter(hasJoined);
  const names = new Set([...nodes, ...members].map(({ name }) => name));
  return !gone.some(({ name }) => names.has(name));
}
