import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readClusterUid } from "../../clients/kubernetes/cluster-uid.ts";
import type { StepContext } from "../context.ts";
import type { SlotInput } from "../input.ts";

/** Output of a claim or join: later runs recognise the node's VM by it. */
export interface Claimed {
  name: string;
  vmid: number;
  /** SMBIOS uuid of the VM. */
  uuid: string;
  /** Uid of the cluster that the node is made for. @default an older version, or no cluster, was asked */
  cluster?: string;
}

/** The output of a claim or join of this node. @param cluster uid, if there is a cluster that says it */
export function claimedAs({ node, vmid }: SlotInput, { uuid }: { uuid: string }, cluster = ""): Claimed {
  return { name: node, vmid, uuid, ...(cluster === "" ? {} : { cluster }) };
}

/** The same for a node that is a member already: the cluster is not asked again what the step has printed before. */
export async function findClaimed(
  context: StepContext,
  input: SlotInput,
  { uuid }: { uuid: string },
  client: Kubernetes,
): Promise<Claimed> {
  const before = claimedBefore(context, input);
  const known = before?.uuid === uuid ? before.cluster : undefined;
  return claimedAs(input, { uuid }, known ?? (await readClusterUid(client)));
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
