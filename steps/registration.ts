import { parse } from "yaml";
import { messageOf, UserErrors, type Problem } from "../common/errors.ts";
import { guest, ports } from "../images/contract.ts";
import { isNoSuchFile, isOff, readFile } from "../proxmox/agent.ts";
import { nodeTags } from "../proxmox/tags.ts";
import type { ListedVm } from "../proxmox/vms.ts";
import type { ClusterInput } from "./input.ts";
import type { Run } from "./run.ts";

/**
 * Asked before the first server goes: every node has to reach the cluster through the registration address. One that
 * joined through a server loses its way when that server is replaced (rancher#45538, CAPRKE2#193).
 * @throws UserErrors that names every node that does not, or cannot be asked
 */
export async function requireRegistration(run: Run, input: ClusterInput, vms: readonly ListedVm[]): Promise<void> {
  const nodes = vms.filter(
    ({ tags, template, pool }) =>
      !template && pool === input.site.proxmoxPool && nodeTags(tags)?.cluster === input.cluster,
  );
  const problems = (await Promise.all(nodes.map((vm) => whyLost(run, input, vm)))).flat();
  if (problems.length > 0) throw new UserErrors(problems);
}

async function whyLost(run: Run, { site }: ClusterInput, vm: ListedVm): Promise<Problem[]> {
  const name = vm.name ?? String(vm.vmid);
  try {
    const data: unknown = parse((await readFile(run.pve, vm, guest.join)).toString());
    const server = typeof data === "object" && data !== null && "server" in data ? String(data.server) : undefined;
    // The server that made the cluster names nobody.
    if (server === undefined || server === `https://${site.registrationAddress}:${ports.supervisor}`) return [];
    return [
      {
        what: `${name} reaches the cluster through ${server} and not through the registration address`,
        where: `${guest.join} on VM ${vm.vmid}; site.registrationAddress is ${site.registrationAddress}`,
        todo: "let the old address lead to the servers for as long as that node lives, or replace the node first (`rollout` of its pool), then run again",
      },
    ];
  } catch (error) {
    // Off, or not joined yet: what it is told when it joins is the registration address.
    if (isOff(error) || isNoSuchFile(error)) return [];
    return [
      {
        what: `${name} does not say how it reaches the cluster: ${messageOf(error)}`,
        where: `${guest.join} on VM ${vm.vmid}`,
        todo: "bring its guest agent back; no server leaves before every node was asked",
      },
    ];
  }
}
