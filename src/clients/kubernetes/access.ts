import { clock } from "../../runtime/clock.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { guest } from "../../../images/contract.ts";
import { hungMs, isNoSuchFile, isOff, readFile } from "../proxmox/agent.ts";
import type { Proxmox } from "../proxmox/client.ts";
import { ProxmoxError } from "../proxmox/errors.ts";
import { nodeNameIn, nodeTags } from "../proxmox/tags.ts";
import { isCalled, type ListedVm } from "../proxmox/vms.ts";
import { isAdopted } from "../../domain/model/generation.ts";
import { Kubernetes } from "./client.ts";
import { parseKubeconfig } from "./kubeconfig.ts";
import { apiAt } from "./urls.ts";

/** Where a cluster's servers are. */
export interface ClusterSite {
  cluster: string;
  serverPool: string;
  proxmoxPool: string;
  registrationAddress: string;
}

/** A connection to the cluster. */
export interface Access {
  client: Kubernetes;
  /** The cluster's CA, PEM. */
  ca: string;
  /** The server whose kubeconfig is used. */
  server: ListedVm;
  /**
   * A client of the API server of one host, bypassing the registration address: only to check whether that API server
   * serves.
   */
  at: (host: string) => Kubernetes;
}

/**
 * The server VMs of a cluster, by everything that the list shows: our tags, our Proxmox pool, no template, and a name
 * that agrees with the tags (also in an adopted VM, which has a name of its own). This is only what the VMs claim to
 * be: enough to read a file from one, but no VM is changed because of it.
 */
export function serverVms(vms: readonly ListedVm[], site: ClusterSite): ListedVm[] {
  return vms.filter((vm) => {
    const tags = nodeTags(vm.tags);
    if (vm.template || vm.pool !== site.proxmoxPool) return false;
    if (tags?.cluster !== site.cluster || tags.pool !== site.serverPool) return false;
    return isCalled(vm, nodeNameIn(tags)) || isAdopted({ ...tags, name: vm.name ?? "" });
  });
}

/**
 * A server runs, but no running server says whether there is a cluster: a booting server has no guest agent for a
 * while.
 */
export class SilentServers extends UserError {}

/**
 * Connects to the cluster through the registration address, with the kubeconfig of the first running server that
 * answers.
 * @returns undefined when no server runs, or when no running server has started RKE2 yet
 * @throws SilentServers that lists what each server said, when a server runs but cannot be asked
 */
export async function findAccess(
  pve: Proxmox,
  vms: readonly ListedVm[],
  site: ClusterSite,
): Promise<Access | undefined> {
  const since = clock.elapsed();
  for (;;)
    try {
      return await findAnswering(pve, vms, site);
    } catch (error) {
      // A busy guest agent is silent for a moment.
      if (!(error instanceof SilentServers) || clock.elapsed() - since >= hungMs) throw error;
      await clock.sleep(500);
    }
}

async function findAnswering(pve: Proxmox, vms: readonly ListedVm[], site: ClusterSite): Promise<Access | undefined> {
  const silent: string[] = [];
  // The list is seconds old: a VM that it shows as stopped is asked too, but last. A VM that is off answers at once.
  const servers = serverVms(vms, site).toSorted(
    (a, b) => Number(a.status === "stopped") - Number(b.status === "stopped"),
  );
  for (const server of servers) {
    try {
      const text = await readFile(pve, server, guest.kubeconfig);
      const where = `${guest.kubeconfig} on ${server.name ?? server.vmid}`;
      const registration = apiAt(site.registrationAddress);
      const config = parseKubeconfig(text.toString(), where, registration);
      const at = (host: string) => new Kubernetes({ ...config, server: apiAt(host) });
      return { client: new Kubernetes(config), ca: config.ca, server, at };
    } catch (error) {
      if (isNoSuchFile(error) || isOff(error)) continue;
      // A kubeconfig that a full disk or a power cut has cut off: another server has a whole one.
      const isBroken = error instanceof UserError;
      if (!isBroken && !(error instanceof ProxmoxError)) throw error;
      silent.push(`${server.name ?? server.vmid}: ${isBroken ? error.problem.what : messageOf(error)}`);
    }
  }
  if (silent.length === 0) return undefined;
  throw new SilentServers({
    what: `the cluster ${site.cluster} cannot be reached: no running server hands out its kubeconfig`,
    where: silent.join("\n         "),
    todo: 'look at the consoles of these VMs: RKE2 writes its kubeconfig when it starts, and needs room on the disk for it; a guest agent that has died comes back with a restart of qemu-guest-agent. If no server has ever served: docs/recovery.md, "A first creation did not get through"',
  });
}
