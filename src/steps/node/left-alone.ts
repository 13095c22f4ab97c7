import { say } from "../../runtime/log.ts";
import { listVms } from "../../clients/proxmox/vms.ts";
import { claimedBefore, type Claimed } from "../verbs/claim.ts";
import type { SlotInput } from "../input.ts";
import { known } from "./member.ts";
import type { Run } from "../run.ts";
import { look } from "../cluster/scene.ts";

/**
 * What a claim or a join prints of a node whose Proxmox host did not answer when the run was planned, and which stays as it
 * is: what is known of it already. Nothing is asked of it, and nothing of this run rests on it.
 * @returns undefined when the node is somewhere else, so that its step does its work
 */
export async function leftAlone(run: Run, input: SlotInput): Promise<Partial<Claimed> | undefined> {
  if (input.unreachable === undefined) return undefined;
  const vm = (await listVms(run.pve)).find(({ vmid }) => vmid === input.vmid);
  if (vm?.host !== input.unreachable) return undefined;
  say(`${input.node} is left as it is: its Proxmox host ${vm.host} did not answer`);
  const before = claimedBefore(run, input);
  if (before?.uuid !== undefined) return before;
  const { access } = await look(run, input);
  const own = access && (await known(access.client, input)).own;
  return { name: input.node, vmid: input.vmid, ...(own === undefined ? {} : { uuid: own.uuid }) };
}
