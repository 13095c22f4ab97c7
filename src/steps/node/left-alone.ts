import { say } from "../../runtime/log.ts";
import { listVms } from "../../clients/proxmox/vms.ts";
import { claimedBefore, type Claimed } from "./claimed.ts";
import type { SlotInput } from "../input.ts";
import { readNodeView } from "./node-view.ts";
import type { StepContext } from "../context.ts";
import { connect } from "../cluster/connect.ts";

/**
 * The output of a claim or join for a node that stays as it is, because its Proxmox host did not answer when the run
 * was planned: what is known of the node already. Nothing is requested from that host, and nothing in this run depends
 * on the node.
 * @returns undefined when the VM is on another host, so that the step does its work
 */
export async function findLeftAlone(context: StepContext, input: SlotInput): Promise<Partial<Claimed> | undefined> {
  if (input.unreachable === undefined) return undefined;
  const vm = (await listVms(context.pve)).find(({ vmid }) => vmid === input.vmid);
  if (vm?.host !== input.unreachable) return undefined;
  say(`${input.node} is left as it is: its Proxmox host ${vm.host} did not answer`);
  const before = claimedBefore(context, input);
  if (before?.uuid !== undefined) return before;
  const { access } = await connect(context, input);
  const own = access && (await readNodeView(access.client, input)).own;
  return { name: input.node, vmid: input.vmid, ...(own === undefined ? {} : { uuid: own.uuid }) };
}
