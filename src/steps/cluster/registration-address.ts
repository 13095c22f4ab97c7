import { parse } from "yaml";
import { DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserErrors, type Problem } from "../../runtime/errors.ts";
import { guest, ports } from "../../../images/contract.ts";
import { isAgentSilent, isNoSuchFile, isOff, readFile, withAgent } from "../../clients/proxmox/agent.ts";
import { nodeTags } from "../../clients/proxmox/tags.ts";
import type { ListedVm } from "../../clients/proxmox/vms.ts";
import { isAdopted, nodeName } from "../../domain/model/generation.ts";
import type { ClusterInput } from "../input.ts";
import type { StepContext } from "../context.ts";

/**
 * Asked before the first server goes: every node has to reach the cluster through the registration address. One that
 * joined through a server loses its way when that server is replaced (rancher#45538, CAPRKE2#193).
 * @param members names of the Nodes
 * @throws UserErrors that names every node that does not, or cannot be asked
 */
export async function requireRegistration(
  context: StepContext,
  input: ClusterInput,
  vms: readonly ListedVm[],
  members: ReadonlySet<string>,
): Promise<void> {
  const nodes = vms.filter(
    ({ tags, template, pool }) =>
      !template && pool === input.site.proxmoxPool && nodeTags(tags)?.cluster === input.cluster,
  );
  const problems = (await Promise.all(nodes.map((vm) => whyLost(context, input, vm, members)))).flat();
  if (problems.length > 0) throw new UserErrors(problems);
}

async function whyLost(
  context: StepContext,
  { site }: ClusterInput,
  vm: ListedVm,
  members: ReadonlySet<string>,
): Promise<Problem[]> {
  const name = vm.name ?? String(vm.vmid);
  try {
    const { file, server } = await joinedThrough(context, vm);
    if (server === `https://${site.registrationAddress}:${ports.supervisor}`) return [];
    // The server that made the cluster names nobody.
    if (server === undefined && (file === guest.join || nodeTags(vm.tags)?.pool === site.serverPool)) return [];
    const way = server ?? `what stands outside of ${file}`;
    return [
      {
        what: `${name} reaches the cluster through ${way} and not through the registration address`,
        where: `${file} on VM ${vm.vmid}; site.registrationAddress is ${site.registrationAddress}`,
        todo: file === guest.config ? inPlace(site.registrationAddress) : AFTER_ALL,
      },
    ];
  } catch (error) {
    // Off, or not joined yet: what it is told when it joins is the registration address.
    if (isOff(error) || isNoSuchFile(error)) return [];
    // It still starts, or its image is no good: it has reached nobody yet.
    if ((isAgentSilent(error) || error instanceof DeadlineError) && isNoMember(vm, members)) return [];
    return [
      {
        what: `${name} does not say how it reaches the cluster: ${messageOf(error)}`,
        where: `${guest.join} on VM ${vm.vmid}`,
        todo: "bring its guest agent back; no server leaves before every node was asked",
      },
    ];
  }
}

const AFTER_ALL =
  "let the old address lead to the servers for as long as that node lives, or replace the node first (`rollout` of its pool), then run again";

/** An adopted node has a name of its own, so nothing is said of one. */
function isNoMember({ name, tags }: ListedVm, members: ReadonlySet<string>): boolean {
  const ours = nodeTags(tags);
  if (ours === undefined || isAdopted({ name: name ?? "", generation: ours.generation })) return false;
  return !members.has(nodeName(ours.cluster, ours.pool, ours.slot, ours.generation));
}

/** Nobody renders the file of an adopted node anew, so its owner may. */
function inPlace(registrationAddress: string): string {
  return `write "server: https://${registrationAddress}:${ports.supervisor}" into that file: it counts when RKE2 starts again, and until then the node keeps its way. Then run again`;
}

/** Adopted nodes have no join data of ours, but RKE2's own configuration. */
async function joinedThrough(
  context: StepContext,
  vm: ListedVm,
): Promise<{ file: string; server: string | undefined }> {
  const adopted = isAdopted({ name: vm.name ?? "", generation: nodeTags(vm.tags)?.generation ?? "" });
  const asked = (file: string) =>
    withAgent(vm.name ?? String(vm.vmid), context.stop, () => readFile(context.pve, vm, file));
  const read = async (file: string) => ({ file, server: serverIn(await asked(file)) });
  try {
    return await read(guest.join);
  } catch (error) {
    if (!adopted || !isNoSuchFile(error)) throw error;
  }
  return await read(guest.config).catch((error: unknown) => {
    if (isNoSuchFile(error)) return { file: guest.config, server: undefined };
    throw error;
  });
}

function serverIn(file: Buffer): string | undefined {
  const data: unknown = parse(file.toString());
  return typeof data === "object" && data !== null && "server" in data ? String(data.server) : undefined;
}
