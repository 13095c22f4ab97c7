import { UserError, UserErrors, type Problem } from "../runtime/errors.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import { Proxmox } from "../clients/proxmox/client.ts";
import { nodeNameIn, nodeTags } from "../clients/proxmox/tags.ts";
import { isCalled, isRunning, listNamed, findUnseen, type ListedVm } from "../clients/proxmox/vms.ts";
import { shortList } from "../domain/drain/local-data.ts";
import { hasJoined } from "../domain/rollout/slot-state.ts";
import { hiddenVmProblems, renumberedProblem } from "../domain/rollout/hidden-vms.ts";
import { parseNodeName } from "../domain/model/generation.ts";
import type { NodeRecord } from "../domain/model/types.ts";
import type { EngineState } from "./engine-state.ts";
import { SERVER_POOL, type Config } from "../config/config.ts";
import { readStackConfig } from "../config/stack-config.ts";

type Vm = EngineState["vms"][number];

/**
 * VMs of the engine's state that are gone, are on another Proxmox host than in the state, or were never configured; and
 * clones that are in no state. When the list of VMs cannot be read the result is empty: the program reads it too, does
 * not start either, and reports the reason in full.
 * @param file of the configuration. @default that of the stack's name
 * @throws UserErrors when the configuration cannot be read, or is that of another cluster; when a VMID in the state belongs
 *   to a VM that is not Evergreen's, or a VM in the state is invisible to the token
 */
export async function findMissingVms(
  stack: string,
  environment: NodeJS.ProcessEnv,
  known: readonly Vm[],
  file?: string,
): Promise<{ gone: Vm[]; moved: Vm[]; unconfigured: Vm[]; untracked: ListedVm[] }> {
  const config = await readStackConfig(stack, { environment, ...(file !== undefined && { file }) }).catch(
    (error: unknown) => {
      // The program reads it too. Where the state has VMs, what is not looked at here is not looked at at all.
      if (known.length > 0) throw error;
    },
  );
  const nothing = { gone: [], moved: [], unconfigured: [], untracked: [] };
  if (config === undefined) return nothing;
  const found = await look(config, environment, known).catch(() => undefined);
  // The names in the state tell another cluster also where nobody can be asked.
  refuseRenamed(known, config, found?.seen);
  if (found === undefined) return nothing;
  const { gone, seen, hidden, untracked } = found;
  refuseStrangers(known, seen, config);
  refuseHidden(hidden);
  return { gone, moved: movedAmong(known, seen), unconfigured: unconfiguredAmong(known, seen), untracked };
}

/**
 * VMs that are off, have a node name of this cluster, and are in no state: mostly clones whose plugin was killed, of
 * which the engine keeps nothing. A VM that is seconds old has neither a name nor a status in the list, and is asked for
 * on its host. The names of clusters and pools hold dashes, so a node of the cluster `prod-eu` in the same Proxmox pool
 * has the name of a node of `prod`: the pool has to be one of ours, and the tags must not name another cluster.
 */
export async function findUntracked(
  pve: Proxmox,
  known: readonly Pick<Vm, "vmid" | "name">[],
  { cluster, site, pools }: Pick<Config, "cluster" | "site"> & { pools: readonly { name: string }[] },
): Promise<ListedVm[]> {
  const numbers = new Set(known.map(({ vmid }) => vmid));
  const poolOf = (name = "") => parseNodeName(name, cluster)?.pool;
  const ours = new Set([SERVER_POOL, ...pools.map(({ name }) => name), ...known.map(({ name }) => poolOf(name))]);
  const isUnknown = ({ vmid, pool, tags, template, status }: ListedVm) =>
    !numbers.has(vmid) &&
    pool === site.proxmoxPool &&
    (nodeTags(tags)?.cluster ?? cluster) === cluster &&
    !template &&
    status !== "running";
  const unknown = await listNamed(pve, isUnknown);
  const named = unknown.filter(({ name }) => poolOf(name) !== undefined && ours.has(poolOf(name)));
  // One whose host does not say is left alone.
  const running = await Promise.all(
    named.map(async (vm) => vm.status === "unknown" && (await isRunning(pve, vm).catch(() => true))),
  );
  return named.filter((_, index) => !running[index]);
}

/**
 * Clones that were never configured: they are in the state by name and VMID, and have no Evergreen tags. One that
 * somebody has started is named, and not undone. The provider stores as written what Proxmox refused, and never writes it again. A VM that was claimed had its
 * tags at that time, so they were removed later, and it is not one of these.
 */
export function unconfiguredAmong(known: readonly Vm[], list: readonly ListedVm[]): Vm[] {
  const isBare = (vm: ListedVm) => nodeTags(vm.tags) === undefined;
  return known.filter(
    ({ vmid, name, claimed }) =>
      claimed !== true && list.some((vm) => vm.vmid === vmid && vm.name === name && isBare(vm)),
  );
}

/** VMs that were migrated since the engine last read them: it would read and destroy them on the wrong host. */
export function movedAmong(known: readonly Vm[], list: readonly ListedVm[]): Vm[] {
  return known.filter(({ vmid, host }) =>
    list.some((vm) => vm.vmid === vmid && host !== undefined && vm.host !== host),
  );
}

/**
 * VMs of the engine's state that are gone, or on another Proxmox host than in the state, by name, VMID and tags: a destroy
 * must not be led to a VM that has taken over a VMID. None is gone where none of ours is seen: that may be another site.
 * When the list of VMs cannot be read the result is empty, if the claims' deletes prove every VM.
 * @throws UserErrors when a VMID in the state belongs to a VM that is not Evergreen's: no step of a VM that was never
 *   claimed proves its identity before the engine destroys it; why the list cannot be read, while there is such a VM
 */
export async function findOutdatedVms(
  stack: string,
  environment: NodeJS.ProcessEnv,
  known: readonly Vm[],
): Promise<{ gone: Vm[]; moved: Vm[] }> {
  const mayBeBlind = known.every(({ claimed }) => claimed === true);
  const read = async () => await look(await readStackConfig(stack, { environment }), environment, known);
  const seen = known.length === 0 ? undefined : read();
  const found = await (mayBeBlind ? seen?.catch(() => undefined) : seen);
  if (found === undefined) return { gone: [], moved: [] };
  refuseStrangers(known, found.seen, found.config);
  const isOurs = (vm: ListedVm) =>
    nodeTags(vm.tags) !== undefined && known.some(({ vmid, name }) => vm.vmid === vmid && isCalled(vm, name));
  const ours = found.seen.filter(isOurs);
  return ours.length === 0 ? { gone: [], moved: [] } : { gone: found.gone, moved: movedAmong(known, ours) };
}

/**
 * Requires that the VMs of the engine's state are seen or gone: a refresh forgets all others, which then serve on and are
 * in no state.
 * @throws UserErrors that names VMs that are invisible to the token; UserError when it may not see the pool
 */
export async function requireSeen(stack: string, environment: NodeJS.ProcessEnv, known: readonly Vm[]): Promise<void> {
  if (known.length > 0)
    refuseHidden((await look(await readStackConfig(stack, { environment }), environment, known)).hidden);
}

async function look(config: Config, environment: NodeJS.ProcessEnv, known: readonly Vm[]) {
  const pve = Proxmox.fromEnvironment(environment);
  try {
    const found = await findUnseen(pve, config.site.proxmoxPool, known);
    return { ...found, config, untracked: await findUntracked(pve, known, config) };
  } finally {
    await pve.close();
  }
}

/**
 * Refuses a configuration of another cluster than that whose VMs the state has: none of them would be recognised, a second
 * cluster would be made, and the engine would destroy the first. The program sees it too, unless the ranges of VMIDs were
 * changed with the name.
 * @param list VMs of Proxmox VE: a node of the cluster `prod-eu` has the name of one of `prod`, and other tags
 * @throws UserError that names the VMs
 */
export function refuseRenamed(
  known: readonly Pick<Vm, "name" | "vmid">[],
  { cluster }: Pick<Config, "cluster">,
  list: readonly Pick<ListedVm, "vmid" | "name" | "tags">[] = [],
): void {
  const tagged = known.flatMap(({ vmid, name }) =>
    list.flatMap((vm) => (vm.vmid === vmid && isCalled(vm, name) ? (nodeTags(vm.tags)?.cluster ?? []) : [])),
  );
  const isOurs =
    tagged.length > 0 ? tagged.includes(cluster) : known.some(({ name }) => parseNodeName(name, cluster) !== undefined);
  if (known.length === 0 || isOurs) return;
  throw new UserError({
    what: `this stack has ${known.length} VMs, and none is a node of the cluster ${cluster}`,
    where: `evergreen:cluster; ${shortList(known.map(({ name, vmid }) => `VM ${vmid} (${name})`))}`,
    todo: "set evergreen:cluster to the name that these nodes begin with: under another name all of them would be destroyed. A second cluster is another stack",
  });
}

/**
 * Refuses VMs that are invisible to the token. They are not gone, and a refresh would permanently remove them from the
 * state. The engine cannot do anything with them either: Proxmox refuses every request of the token for such a VM.
 * @throws UserErrors that names every VM
 */
export function refuseHidden(hidden: readonly Vm[]): void {
  if (hidden.length > 0) throw new UserErrors(hidden.map(hiddenVmProblems));
}

/**
 * Refuses VMs that took over a VMID of the engine's state. The engine destroys by VMID, and a clone that was never
 * claimed has no other identity. The program decides about a VM of this cluster that was renamed, or that has the
 * expected name and another uuid; the delete of a claim finds out that another node has the VMID.
 * @throws UserErrors that names every VM that has a VMID of the state, and neither the expected name nor its tags
 */
export function refuseStrangers(
  known: readonly Pick<Vm, "name" | "vmid" | "urn" | "claimed">[],
  list: readonly ListedVm[],
  { cluster }: Pick<Config, "cluster">,
): void {
  const isStranger = (vm: ListedVm, { name, claimed }: Pick<Vm, "name" | "claimed">): boolean => {
    const tags = nodeTags(vm.tags);
    if (isCalled(vm, name)) return false;
    if (tags?.cluster !== cluster) return true;
    return claimed !== true && nodeNameIn(tags) !== name;
  };
  const strangers = known.flatMap((one) =>
    list
      .filter((vm) => vm.vmid === one.vmid && isStranger(vm, one))
      .map((vm) => ({
        ...(vm.name === undefined ? unnamed(one, vm) : strange(one, vm.name)),
        where: `VM ${one.vmid} on ${vm.host}; the state of the engine has it as ${one.name}`,
      })),
  );
  if (strangers.length > 0) throw new UserErrors(strangers);
}

type Words = Pick<Problem, "what" | "todo">;

function strange({ name, vmid, urn, claimed }: Pick<Vm, "name" | "vmid" | "urn" | "claimed">, called: string): Words {
  const forgotten =
    claimed === true
      ? "move this one to another number, then run `npx evergreen repair`"
      : `have the engine forget it: npx pulumi state delete --target-dependents '${urn}'`;
  return {
    what: `VM ${vmid} is not ${name} any more: it is called ${called} and has not its tags`,
    todo: `nothing was begun: the engine would destroy it in the place of ours. If ours is gone, ${forgotten}; if it is ours, give it back its name and its tags`,
  };
}

function unnamed({ name, vmid }: Pick<Vm, "name" | "vmid">, { host }: ListedVm): Words {
  return {
    what: `nobody can say whether VM ${vmid} is still ${name}: it has not its tags, and its Proxmox host ${host} does not answer`,
    todo: "nothing was begun: the engine would destroy it by its number. Bring that host back, then run again",
  };
}

/**
 * Refuses a repair that would forget all VMs of a stack while no cluster answers. The endpoint of another Proxmox VE
 * gives the same result when its pool and token have the same names: the VMIDs are free there.
 * @throws UserError then: an operator gives up single VMs with a repair, not a whole site
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
 * Whether the engine may forget VMs that are gone without an operator's request. It may not when one of them was a
 * member: the program refuses to start without it, and an operator runs `evergreen repair`. Without a connection to the
 * cluster the members are unknown, so the answer is no.
 */
export function mayForget(gone: readonly Pick<Vm, "name">[], { kubernetes, nodes, records }: ObservedCluster): boolean {
  if (!kubernetes) return false;
  const remembered = [...records.values()].flatMap((record) => record.nodes);
  const members = remembered.filter(hasJoined);
  const names = new Set([...nodes, ...members].map(({ name }) => name));
  return !gone.some(({ name }) => names.has(name));
}

/**
 * Whether the name of a VM that is gone belongs to a later VM of ours: a generation came back with other VMIDs, and the
 * state is older than that. The record, the list of VMs and the Node agree about the later one, so its Node proves
 * nothing about the VM that is gone. A VM that somebody renumbered is recorded under its first VMID, and is none of these.
 */
export function hasLaterVm(
  { name, vmid }: Pick<Vm, "name" | "vmid">,
  { nodes, records, vms }: Pick<ObservedCluster, "nodes" | "records" | "vms">,
): boolean {
  const node = nodes.find((one) => one.name === name);
  const recorded = [...records.values()].flatMap((record) => record.nodes).find((one) => one.name === name);
  if (node === undefined || recorded === undefined) return false;
  const isSame = (one: { uuid: string; vmid: number }) => one.uuid === node.uuid && one.vmid === recorded.vmid;
  return recorded.vmid !== vmid && isSame(recorded) && vms.some((vm) => vm.name === name && isSame(vm));
}

/**
 * The record of the node that a VM is by its SMBIOS uuid, when somebody gave the VM another number than the node was made
 * with. The record of a retired node does not count: its VM may have been restored from a backup.
 */
export function recordedElsewhere(
  { vmid }: Pick<ListedVm, "vmid">,
  { vms, records }: Pick<ObservedCluster, "vms" | "records">,
): NodeRecord | undefined {
  const uuid = vms.find((vm) => vm.vmid === vmid)?.uuid;
  const nodes = [...records.values()].flatMap((record) => record.nodes);
  return nodes.find((node) => node.uuid === uuid && node.vmid !== vmid && node.phase !== "retired");
}

/** @throws UserErrors that names VMs that are not gone, and have another number */
export function refuseRenumbered(
  gone: readonly Pick<Vm, "vmid">[],
  observed: Pick<ObservedCluster, "vms" | "records">,
): void {
  const problems = observed.vms.flatMap((vm) => {
    const made = recordedElsewhere(vm, observed);
    return made && gone.some(({ vmid }) => vmid === made.vmid) ? [renumberedProblem(made, vm.vmid)] : [];
  });
  if (problems.length > 0) throw new UserErrors(problems);
}
