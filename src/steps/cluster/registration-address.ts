import { parse } from "yaml";
import { DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserErrors, type Problem } from "../../runtime/errors.ts";
import { guest } from "../../../images/contract.ts";
import { supervisorAt } from "../../clients/kubernetes/urls.ts";
import { isAgentSilent, isNoSuchFile, isOff, readFile, withAgent } from "../../clients/proxmox/agent.ts";
import { nodeNameIn, nodeTags } from "../../clients/proxmox/tags.ts";
import { withName, type ListedVm } from "../../clients/proxmox/vms.ts";
import { isAdopted } from "../../domain/model/generation.ts";
import type { ClusterInput } from "../input.ts";
import type { StepContext } from "../context.ts";

/**
 * Requires, before the first server is decommissioned, that every agent and every adopted node reaches the cluster
 * through the registration address. A node that joined through one server loses its connection when that server is
 * replaced (rancher#45538, CAPRKE2#193). Servers of ours are not asked: RKE2 ignores the address once it has etcd's data.
 * @param members names of the Nodes
 * @throws UserErrors that names every node that uses another address, or cannot be asked
 */
export async function requireRegistration(
  context: StepContext,
  input: ClusterInput,
  vms: readonly ListedVm[],
  members: ReadonlySet<string>,
): Promise<void> {
  const nodes = vms.filter(
    (vm) => !vm.template && vm.pool === input.site.proxmoxPool && nodeTags(vm.tags)?.cluster === input.cluster,
  );
  // Only its name tells an adopted node.
  const named = await Promise.all(nodes.map((vm) => withName(context.pve, vm)));
  const asked = named.filter((vm) => !isOwnServer(vm, input.site.serverPool));
  const problems = (await Promise.all(asked.map((vm) => findAddressProblems(context, input, vm, members)))).flat();
  if (problems.length > 0) throw new UserErrors(problems);
}

function isOwnServer({ name, tags }: ListedVm, serverPool: string): boolean {
  const { pool, generation = "" } = nodeTags(tags) ?? {};
  return pool === serverPool && !isAdopted({ name: name ?? "", generation });
}

async function findAddressProblems(
  context: StepContext,
  { site }: ClusterInput,
  vm: ListedVm,
  members: ReadonlySet<string>,
): Promise<Problem[]> {
  const name = vm.name ?? String(vm.vmid);
  try {
    const { file, server } = await readServerAddress(context, vm);
    if (server === supervisorAt(site.registrationAddress)) return [];
    // The bootstrap server has no `server` entry.
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
    // The VM is off or has not joined yet: the join data that it gets contains the registration address.
    if (isOff(error) || isNoSuchFile(error)) return [];
    // The VM still boots, or its image is faulty: it does not use the cluster yet.
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
  "replace that node first, by a run that raises `rollout` of its pool and leaves the servers as they are; or set site.registrationAddress back. Then run again";

/** Whether the VM's node is certainly no member. False for an adopted node, which has a name of its own. */
function isNoMember({ name, tags }: ListedVm, members: ReadonlySet<string>): boolean {
  const ours = nodeTags(tags);
  if (ours === undefined || isAdopted({ name: name ?? "", generation: ours.generation })) return false;
  return !members.has(nodeNameIn(ours));
}

/** What to do for an adopted node: its configuration file is not rendered again, so its owner may change it. */
function inPlace(registrationAddress: string): string {
  return `write "server: ${supervisorAt(registrationAddress)}" into that file: it counts when RKE2 starts again, and until then the node keeps its way. Then run again`;
}

/** Reads which server address a node uses. Adopted nodes have no join data of ours, but RKE2's own configuration. */
async function readServerAddress(
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
