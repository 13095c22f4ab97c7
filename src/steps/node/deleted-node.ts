import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { findNode } from "../../clients/kubernetes/nodes.ts";
import { isRunning, type VmConfig } from "../../clients/proxmox/vms.ts";
import type { StepContext } from "../context.ts";
import type { SlotInput } from "../input.ts";
import { MemberRemoved } from "./join-log.ts";
import type { NodeView } from "./node-view.ts";
import { powerOff } from "./power-off.ts";
import type { NeverRegistered } from "./verdict.ts";

/*
 * Members whose Node somebody has deleted while they run, with kubectl or by another controller, or that a restored etcd
 * does not have. A kubelet registers only when it starts (kubernetes#71398), and RKE2 takes a server out of etcd whose
 * Node is deleted.
 */

/**
 * Turns an agent off that was a member and runs without a Node, so that its kubelet registers once it is started again.
 * Kubernetes has removed its pods already, while their containers still run.
 * @returns whether the agent was turned off
 */
export async function turnOffUnregistered(
  context: StepContext,
  input: SlotInput,
  { access, fence, view }: { access: Access; fence: Fence; view: NodeView },
  config: VmConfig,
): Promise<boolean> {
  if (input.role !== "agent" || view.node !== undefined) return false;
  if (!(await isRunning(context.pve, config))) return false;
  await fence.check();
  if ((await findNode(access.client, input.node)) !== undefined) return false;
  say(`${input.node} runs, and its Node was deleted: it is turned off and on again, so that it registers`);
  await powerOff(context, config, true, input.site);
  return true;
}

/** The error for a server that is out of etcd since its Node was deleted: only another server can have its slot. */
export function deletedServer({ name, vmid, host }: VmConfig): MemberRemoved {
  return new MemberRemoved({
    what: `${name} was a member, and its Node was deleted: RKE2 has taken it out of etcd, and what is on its disk never gets in again`,
    where: `VM ${vmid} on ${host}`,
    todo: "run pulumi up again: it is retired, and its slot gets another server of the same content",
  });
}

/** The error for a member that does not register again. It has registered with the same image before. */
export function deletedNode({ name, vmid, host }: VmConfig, cause: NeverRegistered): UserError {
  return new UserError(
    {
      what: `${name} was a member, and its Node was deleted; it has not registered again`,
      where: `VM ${vmid} on ${host}; see the end of its join.log`,
      todo: `restart it once the cluster can do without it (qm reboot ${vmid}): a kubelet registers only when it starts. Then run again; the image was not judged`,
    },
    { cause },
  );
}
