import { UserErrors, type Problem } from "../runtime/errors.ts";
import { SERVER_POOL, type Config } from "../config/config.ts";
import { nodeTags } from "../clients/proxmox/tags.ts";
import type { ListedVm } from "../clients/proxmox/vms.ts";

/*
 * Whether the existing nodes are the cluster that the configuration means. With another cluster name, or another
 * Proxmox pool, the configuration would not recognise any existing node: the plan would make a second cluster beside
 * them, and the engine would destroy them.
 */

/** @throws UserErrors that names the cluster, or the Proxmox pool, that the existing nodes belong to */
export function refuseAnotherCluster(config: Config, list: readonly ListedVm[]): void {
  const nodes = list.filter((vm) => !vm.template && nodeTags(vm.tags) !== undefined);
  const problems = [...renamed(config, nodes), ...moved(config, nodes)];
  if (problems.length > 0) throw new UserErrors(problems);
}

/** A range of VMIDs belongs to one cluster: if only another cluster has nodes in it, this cluster was renamed. */
function renamed({ cluster, controlPlane, pools }: Config, nodes: readonly ListedVm[]): Problem[] {
  if (nodes.some(({ tags }) => nodeTags(tags)?.cluster === cluster)) return [];
  const ranges = [{ name: SERVER_POOL, vmIds: controlPlane.vmIds }, ...pools];
  const foreign = nodes.flatMap((vm) => {
    const range = ranges.find(({ vmIds }) => vm.vmid >= vmIds.first && vm.vmid <= vmIds.last);
    const of = nodeTags(vm.tags)?.cluster ?? "";
    return range === undefined || of === cluster ? [] : [{ of, at: `VM ${vm.vmid} (${vm.name ?? "no name"})` }];
  });
  return [...Map.groupBy(foreign, ({ of }) => of)].map(([of, vms]) => ({
    what: `${vms.length} VMs in the ranges of this configuration are nodes of the cluster ${of}, and evergreen:cluster is ${cluster}`,
    where: some(vms.map(({ at }) => at)),
    todo: `set evergreen:cluster to ${of} again: under another name all its nodes would be destroyed. A second cluster is another stack, with VMIDs of its own`,
  }));
}

/** Applies only when no node is in the configured pool. A single VM that was moved manually is not reported here. */
function moved({ cluster, site }: Config, nodes: readonly ListedVm[]): Problem[] {
  const ours = nodes.filter(({ tags }) => nodeTags(tags)?.cluster === cluster);
  const pools = [...new Set(ours.map(({ pool }) => pool ?? "none"))];
  if (ours.length === 0 || pools.includes(site.proxmoxPool)) return [];
  return [
    {
      what: `all ${ours.length} nodes of the cluster ${cluster} are in the Proxmox pool ${pools.join(", ")}, and evergreen:site.proxmoxPool is ${site.proxmoxPool}`,
      where: some(ours.map(({ vmid, name }) => `VM ${vmid} (${name ?? "no name"})`)),
      todo: `set evergreen:site.proxmoxPool to ${pools.join(", ")} again; or move the VMs in Proxmox first: pvesh set /pools/${site.proxmoxPool} --allow-move 1 --vms ${ours.map(({ vmid }) => vmid).join(",")}`,
    },
  ];
}

function some(all: readonly string[]): string {
  return all.length <= 5 ? all.join(", ") : `${all.slice(0, 4).join(", ")} and ${all.length - 4} more`;
}
