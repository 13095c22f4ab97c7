import type { StepContext } from "../context.ts";
import type { SlotInput } from "../input.ts";

/** Output of a claim or join: later runs recognise the node's VM by it. */
export interface Claimed {
  name: string;
  vmid: number;
  /** SMBIOS uuid of the VM. */
  uuid: string;
}

/** The output of a claim or join of this node. */
export function claimedAs({ node, vmid }: SlotInput, { uuid }: { uuid: string }): Claimed {
  return { name: node, vmid, uuid };
}

/** Output of the previous step run for this node: the state serves as a record too. */
export function claimedBefore(context: StepContext, { node }: SlotInput): Partial<Claimed> | undefined {
  try {
    const printed = JSON.parse(context.previous) as Partial<Claimed>;
    return printed.name === node ? printed : undefined;
  } catch {
    return undefined;
  }
}
