import { UserError } from "../../runtime/errors.ts";
import { findAccess, serverVms, type Access } from "../../clients/kubernetes/access.ts";
import { listVms, type ListedVm } from "../../clients/proxmox/vms.ts";
import type { ClusterInput, SlotInput } from "../input.ts";
import type { StepContext } from "../context.ts";

/** Both APIs, as a step finds them. */
export interface Connection {
  vms: ListedVm[];
  /** Undefined when no server of the cluster has started yet. */
  access: Access | undefined;
}

/** Reads the list of VMs and finds the way into the cluster: two requests. */
export async function connect(context: StepContext, input: ClusterInput, without?: number): Promise<Connection> {
  const vms = await listVms(context.pve);
  const servers = vms.filter(({ vmid }) => vmid !== without);
  const access = await findAccess(context.pve, servers, clusterSite(input));
  // Whatever the step is, it works for the one update that there is.
  if (access) await context.update?.(access.client);
  return { vms, access };
}

/**
 * Both APIs as the node's own steps find them. A server looks for the others first: it cannot join the cluster through itself.
 * Others that are silent, as one that boots ahead, say nothing about a cluster that it leads to itself.
 * @throws UserError when nobody leads to the cluster and somebody could not be asked
 */
export async function connectThroughPeers(context: StepContext, input: SlotInput): Promise<Connection> {
  if (input.role === "agent") return await connect(context, input);
  const vms = await listVms(context.pve);
  const site = clusterSite(input);
  const isSelf = ({ vmid }: ListedVm) => vmid === input.vmid;
  const others = findAccess(
    context.pve,
    vms.filter((vm) => !isSelf(vm)),
    site,
  );
  const access = await others.catch(() => undefined);
  if (access) return { vms, access };
  const self = vms.filter((vm) => isSelf(vm) && vm.status !== "stopped");
  const own = await findAccess(context.pve, self, site).catch(() => undefined);
  return { vms, access: own ?? (await others) };
}

export function clusterSite({ cluster, site }: ClusterInput) {
  return { ...site, cluster };
}

/** The way into a cluster that has to be there. @throws UserError when no server runs */
export function requireReachable(connection: Connection, input: ClusterInput): Access {
  if (connection.access) return connection.access;
  const servers = serverVms(connection.vms, clusterSite(input)).map(
    ({ name, vmid, status, state = status }) => `${name ?? vmid} is ${state}`,
  );
  throw new UserError({
    what: `the cluster ${input.cluster} cannot be reached: no server runs that has started RKE2`,
    where: servers.join("; ") || `no server VM in the Proxmox pool ${input.site.proxmoxPool}`,
    todo: "start a server, or run pulumi up so that the control plane is made first",
  });
}
