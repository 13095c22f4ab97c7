import { UserError } from "../../runtime/errors.ts";
import { findAccess, serverVms, SilentServers, type Access } from "../../clients/kubernetes/access.ts";
import { requireOwnCluster } from "../../clients/kubernetes/own-cluster.ts";
import { listVms, type ListedVm } from "../../clients/proxmox/vms.ts";
import type { ClusterInput, SlotInput } from "../input.ts";
import type { StepContext } from "../context.ts";

/** Both APIs, as a step finds them. */
export interface Connection {
  vms: ListedVm[];
  /** Undefined when no server of the cluster has started RKE2 yet. */
  access: Access | undefined;
  /** Uid of the cluster, proved to be that of its VMs; empty when there is none, or its API names none. */
  uid: string;
}

/**
 * Reads the list of VMs and finds the connection to the cluster.
 * @throws AnotherCluster when the one that answers is not that of the VMs
 */
export async function connect(context: StepContext, input: ClusterInput, without?: number): Promise<Connection> {
  const vms = await listVms(context.pve);
  const servers = vms.filter(({ vmid }) => vmid !== without);
  const access = await findAccess(context.pve, servers, clusterSite(input));
  const connection = await proveConnection(input, vms, access);
  // Every step works for the one update of the cluster.
  if (access) await context.update?.(access.client);
  return connection;
}

/**
 * Finds both APIs for the node's own steps. A server tries the other servers first: it cannot join the cluster through
 * itself. When other servers are silent, such as a server that boots ahead, the server's own kubeconfig is used if it
 * exists.
 * @throws UserError when no server gives a connection and some could not be asked, AnotherCluster as `connect`
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
  if (access) return await proveConnection(input, vms, access);
  const self = vms.filter((vm) => isSelf(vm) && vm.status !== "stopped");
  const own = await findAccess(context.pve, self, site).catch((error: unknown) => {
    // It boots: whoever makes the cluster asks it once more.
    if (error instanceof SilentServers) return undefined;
    throw error;
  });
  return await proveConnection(input, vms, own ?? (await others));
}

async function proveConnection(
  { cluster }: ClusterInput,
  vms: ListedVm[],
  access: Access | undefined,
): Promise<Connection> {
  return { vms, access, uid: access === undefined ? "" : await requireOwnCluster(access, vms, cluster) };
}

export function clusterSite({ cluster, site }: ClusterInput) {
  return { ...site, cluster };
}

/**
 * The connection to a cluster that has to exist.
 * @throws UserError when no server runs
 */
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
