import { say } from "../../runtime/log.ts";
import { listVms } from "../../clients/proxmox/vms.ts";
import { claimedBefore, type Claimed } from "../verbs/claim.ts";
import type { SlotInput } from "../input.ts";
import { readNodeView } from "./node-view.ts";
import type { StepContext } from "../context.ts";
import { connect } from "../cluster/connect.ts";

/**
 * What a claim or a join prints of a node whose Proxmox host did not answer when the run was planned, and which stays as it
 * is: what is known of it already. Nothing is asked of it, and nothing of this run rests on it.
 * @returns undefined when the node is somewhere else, so that its step does its work
 */
export async function leftAlone(context: StepContext, input: SlotInput): Promise<Partial<Claimed> | undefined> {
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
