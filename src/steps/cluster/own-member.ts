import { guest } from "../../../images/contract.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import { mayBeCalled } from "../../clients/kubernetes/etcd-members.ts";
import type { ServerNode } from "../../clients/kubernetes/servers.ts";
import { awaitAgent, isNoSuchFile, readFile } from "../../clients/proxmox/agent.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import type { NodeAddresses } from "../../domain/model/types.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { messageOf } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { StepContext } from "../context.ts";
import type { SlotInput } from "../input.ts";
import { ControlPlaneRefusal, probeMembers, refused, settleDeadline, type ServerProbe } from "./control-plane.ts";

/**
 * What etcd has under the name of a server, or under its address when that member has never started; undefined: nothing.
 * It may be another machine's. Waits until the members can be read.
 */
export async function findInEtcd(
  probe: ServerProbe,
  deadline: Deadline,
  { node, ...addresses }: Pick<SlotInput, "node" | keyof NodeAddresses>,
): Promise<ServerNode | undefined> {
  let why = "";
  const servers = deadline.poll(
    500,
    () =>
      probe(deadline.signal()).catch((error: unknown) => {
        if (why === "" || !deadline.passed) why = messageOf(error);
        return undefined;
      }),
    () => why,
  );
  const known = await servers.catch((error: unknown) => {
    throw error instanceof DeadlineError
      ? refused({ what: `the control plane is not healthy, so nothing is disturbed: ${why}` })
      : error;
  });
  return inEtcd(known, mayBeCalled(addresses, node));
}

/** What etcd has of a server; "unknown" when its members cannot be read in time. */
export type EtcdStanding = ServerNode["member"] | "unknown";

/** What etcd has of a server now, by its name and addresses. */
export async function readStandingInEtcd(
  context: StepContext,
  input: SlotInput,
  access: Access,
): Promise<EtcdStanding> {
  try {
    const probe = await probeMembers(context, input, access);
    return (await findInEtcd(probe, settleDeadline(context, input), input))?.member ?? "none";
  } catch (error) {
    context.stop.throwIfAborted();
    say(`whether etcd has ${input.node} is not known: ${messageOf(error)}`);
    return "unknown";
  }
}

/** @param names of the server: its name, then its addresses */
export function inEtcd(
  servers: readonly ServerNode[],
  [name, ...addresses]: readonly string[],
): ServerNode | undefined {
  const found = servers.filter(({ member, ...one }) => member !== "none" && [name, ...addresses].includes(one.name));
  return found.find((one) => one.name === name) ?? found[0];
}

/**
 * Whether a member of etcd is the one that this machine is: RKE2 keeps its name, with eight digits that no other machine
 * has, beside etcd's data. A name alone says nothing: the machine that had it may be gone, and its member is not.
 */
export async function isOwnMember(
  { pve, stop }: StepContext,
  { timeouts }: SlotInput["site"],
  vm: VmConfig,
  { memberName }: ServerNode,
): Promise<boolean> {
  const deadline = new Deadline(`the agent of ${vm.name}`, timeouts.agent, stop);
  const text = await awaitAgent(deadline, () =>
    readFile(pve, vm, guest.member).then(String, (error: unknown) => {
      if (isNoSuchFile(error)) return "";
      throw error;
    }),
  );
  const own = text.trim();
  // A member that has never started has no name in etcd's list.
  return own !== "" && (memberName === undefined || own === memberName);
}

/** The error for a server whose name a voter has whose machine is another one, and most likely gone. */
export function nameTaken({ name, vmid, host }: VmConfig, { memberName = name }: ServerNode): ControlPlaneRefusal {
  return new ControlPlaneRefusal({
    what: `${name} may not join: etcd has a voter of that name, which is another machine`,
    where: `etcd's member ${memberName}; VM ${vmid} on ${host} has never been that`,
    todo: 'nothing was changed, and no image was judged. If the machine of that voter is gone for good, take its member out of etcd: docs/recovery.md, "A server did not get through its join". Then run pulumi up again',
  });
}
