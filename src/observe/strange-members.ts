import { UserError } from "../runtime/errors.ts";
import { SERVER_POOL } from "../config/config.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { uidTag } from "../clients/proxmox/tags.ts";
import { isUntoldFounder } from "../clients/proxmox/untold.ts";
import { isAdopted } from "../domain/model/generation.ts";
import type { ObservedNode, ObservedVm, PoolRecord } from "../domain/model/types.ts";

/** The cluster that answers, and what it remembers. */
interface Answering {
  cluster: string;
  uid: string;
  /** VMID of the server whose kubeconfig is used: the first one of a cluster runs before it is recorded. */
  server: number;
  nodes: readonly Pick<ObservedNode, "uuid">[];
  records: Iterable<PoolRecord>;
}

/**
 * Requires that the cluster which answers remembers every VM that was started as a node and does not show of which cluster
 * it is, as those that an earlier version has started: another cluster of the name remembers none of them.
 * @throws UserError that names these VMs
 */
export async function requireRemembered(
  pve: Proxmox,
  vms: readonly ObservedVm[],
  { cluster, uid, server, ...memory }: Answering,
): Promise<void> {
  const recorded = [...memory.records].flatMap(({ nodes }) => nodes);
  const known = new Set([...memory.nodes, ...recorded].map(({ uuid }) => uuid));
  const unknown = vms.filter((vm) => isStarted(vm) && !isAdopted(vm) && vm.vmid !== server && !known.has(vm.uuid));
  // The only server that boots without a cluster, and may be left by a first creation that was killed; nobody else founds one.
  const isOfNone = async (vm: ObservedVm) =>
    vm.pool === SERVER_POOL && vm.slot === 0 && (!vm.running || (await isUntoldFounder(pve, vm)));
  const strange = (
    await Promise.all(unknown.map(async (vm): Promise<ObservedVm[]> => ((await isOfNone(vm)) ? [] : [vm])))
  ).flat();
  if (strange.length === 0) return;
  throw new UserError({
    what: `${strange.length === 1 ? "a VM runs or ran" : `${strange.length} VMs run or ran`} for a cluster ${cluster} that nobody knows, and the one that answers remembers none of them, so nothing is done`,
    where: `${strange.map(({ name, vmid, host }) => `${name} (VM ${vmid} on ${host})`).join("; ")}; the uid of the namespace kube-system is ${uid || "none"}`,
    todo: `when a server was started without its data and has founded another cluster, shut that one down, start the former servers, and run again once their API answers (docs/recovery.md, "Another cluster answers"); when the cluster that answers is theirs, as after the restore of a snapshot from before them, ${uid === "" ? "run again once it has a uid" : `give each of them the tag ${uidTag(uid)}`}; when one is no node, as a clone that somebody has started, shut it down and switch \`start at boot\` off`,
  });
}

/** Whether a VM runs, or would with its host, without showing for which cluster. */
function isStarted({ uidTag: shown, unreachable, running, onBoot, lacksMemberTag }: ObservedVm): boolean {
  return shown === undefined && unreachable === undefined && (running || onBoot === true || lacksMemberTag !== true);
}
