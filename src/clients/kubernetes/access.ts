import { clock } from "../../runtime/clock.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { guest, ports } from "../../../images/contract.ts";
import { hungMs, isAgentSilent, isNoSuchFile, isOff, readFile } from "../proxmox/agent.ts";
import type { Proxmox } from "../proxmox/client.ts";
import { ProxmoxError } from "../proxmox/errors.ts";
import { nodeTags } from "../proxmox/tags.ts";
import type { ListedVm } from "../proxmox/vms.ts";
import { isAdopted, nodeName } from "../../domain/model/generation.ts";
import { Kubernetes } from "./client.ts";
import { parseKubeconfig } from "./kubeconfig.ts";

/** Where a cluster's servers are. */
export interface ClusterSite {
  cluster: string;
  serverPool: string;
  proxmoxPool: string;
  registrationAddress: string;
}

/** A way into the cluster. */
export interface Access {
  client: Kubernetes;
  /** The cluster's CA, PEM. */
  ca: string;
  /** The server whose kubeconfig it is. */
  server: ListedVm;
  /** The API server of one host alone, past the registration address: for the one question whether that one serves. */
  at: (host: string) => Kubernetes;
}

/**
 * The server VMs of a cluster by everything that the list says of them: our tags, a name that agrees with the tags (also
 * in an adopted VM, which has a name of its own), our Proxmox pool, no template. That is who they claim to be, and enough to read a file; nothing is done to a VM on it.
 */
export function serverVms(vms: readonly ListedVm[], site: ClusterSite): ListedVm[] {
  return vms.filter((vm) => {
    const tags = nodeTags(vm.tags);
    if (vm.template || vm.pool !== site.proxmoxPool) return false;
    if (tags?.cluster !== site.cluster || tags.pool !== site.serverPool) return false;
    const { name = nodeName(tags.cluster, tags.pool, tags.slot, tags.generation) } = vm;
    return nodeName(tags.cluster, tags.pool, tags.slot, tags.generation) === name || isAdopted({ ...tags, name });
  });
}

/** A server runs, and none says whether there is a cluster: one that boots has no guest agent for a while. */
export class SilentServers extends UserError {}

/**
 * The cluster through the registration address, by the kubeconfig of the first running server that answers.
 * @returns undefined when no server runs, or none of the running ones has started RKE2 yet
 * @throws SilentServers that lists what each server said, when one runs and cannot be asked
 */
export async function findAccess(
  pve: Proxmox,
  vms: readonly ListedVm[],
  site: ClusterSite,
): Promise<Access | undefined> {
  const since = clock.elapsed();
  for (;;)
    try {
      return await firstThatAnswers(pve, vms, site);
    } catch (error) {
      // An agent that is busy is silent for a moment.
      if (!(error instanceof SilentServers) || clock.elapsed() - since >= hungMs) throw error;
      await clock.sleep(500);
    }
}

async function firstThatAnswers(
  pve: Proxmox,
  vms: readonly ListedVm[],
  site: ClusterSite,
): Promise<Access | undefined> {
  const silent: string[] = [];
  // The list is seconds old: one that it calls stopped is asked too, but last. A VM that is off says so at once.
  const servers = serverVms(vms, site).toSorted(
    (a, b) => Number(a.status === "stopped") - Number(b.status === "stopped"),
  );
  for (const server of servers) {
    try {
      const text = await readFile(pve, server, guest.kubeconfig);
      const where = `${guest.kubeconfig} on ${server.name ?? server.vmid}`;
      const registration = `https://${site.registrationAddress}:${ports.api}`;
      const config = parseKubeconfig(text.toString(), where, registration);
      const at = (host: string) => new Kubernetes({ ...config, server: `https://${host}:${ports.api}` });
      return { client: new Kubernetes(config), ca: config.ca, server, at };
    } catch (error) {
      if (isNoSuchFile(error) || isOff(error)) continue;
      if (!isAgentSilent(error) && !(error instanceof ProxmoxError)) throw error;
      silent.push(`${server.name ?? server.vmid}: ${messageOf(error)}`);
    }
  }
  if (silent.length === 0) return undefined;
  throw new SilentServers({
    what: `the cluster ${site.cluster} cannot be reached: no running server hands out its kubeconfig`,
    where: silent.join("\n         "),
    todo: "look at the consoles of these VMs; a guest agent that has died comes back with a restart of qemu-guest-agent",
  });
}
