import { UserError } from "../../runtime/errors.ts";
import { nodeTags, uidTag, uidTagsIn } from "../proxmox/tags.ts";
import type { ListedVm } from "../proxmox/vms.ts";
import type { Access } from "./access.ts";
import { readClusterUid } from "./cluster-uid.ts";

/*
 * Whether the cluster that answers is that of the VMs. A server that is started without its data founds another one with
 * the same name behind the same address; it knows nothing of what is on the disks of the former. VMs show, in a tag, the
 * uid of the cluster that they were started for.
 */

/** The cluster that answers is another one than that of VMs which have its name. Nothing is done on its word. */
export class AnotherCluster extends UserError {}

/**
 * Requires that all VMs of the cluster that show a uid show that of the cluster which answers.
 * @param vms as they are listed now; those without the tag count as unknown
 * @param cluster name of the cluster
 * @returns its uid, empty when its API names none
 * @throws AnotherCluster that names these VMs, or the error of an API that does not answer
 */
export async function requireOwnCluster(
  { client, server }: Pick<Access, "client" | "server">,
  vms: readonly ListedVm[],
  cluster: string,
): Promise<string> {
  const uid = await readClusterUid(client);
  const strangers = vms.flatMap((vm) => {
    const others = isNodeOf(vm, cluster) ? uidTagsIn(vm.tags).filter((tag) => uid === "" || tag !== uidTag(uid)) : [];
    return others.length === 0
      ? []
      : [`${vm.name ?? "no name"} (VM ${vm.vmid} on ${vm.host}) has ${others.join(", ")}`];
  });
  if (strangers.length === 0) return uid;
  throw new AnotherCluster({
    what: `the cluster ${cluster} that answers is another one than that of ${strangers.length === 1 ? "a VM" : `${strangers.length} VMs`} of this name, so nothing is done`,
    where: `${strangers.join("; ")}; the uid of the namespace kube-system is ${uid || "none"}, by the kubeconfig of ${server.name ?? "no name"} (VM ${server.vmid})`,
    todo: `find out which of the two has your data, and delete nothing before. When it is the one of these VMs, shut down the server that has founded the other, start the former servers, and run again once their API answers; when it is the one that answers${consent(uid)}: docs/recovery.md, "Another cluster answers"`,
  });
}

/** The VMs that were started for a cluster of this name, whichever. */
export function startedFor(vms: readonly ListedVm[], cluster: string): ListedVm[] {
  return vms.filter((vm) => isNodeOf(vm, cluster) && uidTagsIn(vm.tags).length > 0);
}

/**
 * How people say that the cluster which answers is that of a VM: with its own tag in the place of the other. So they say it
 * of one cluster alone, and what another one says counts no more than before.
 */
function consent(uid: string): string {
  const tag =
    uid === "" ? "" : `; each of these VMs that runs for it gets the tag ${uidTag(uid)} in the place of its own`;
  return `, as after the restore of a snapshot in a cluster that was made anew (docs/recovery.md, "All servers are lost, and a snapshot is left")${tag}`;
}

function isNodeOf({ template, tags }: ListedVm, cluster: string): boolean {
  return !template && nodeTags(tags)?.cluster === cluster;
}
