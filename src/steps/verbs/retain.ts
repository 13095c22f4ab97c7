import { UserError } from "../../runtime/errors.ts";
import { claimedAs, type Claimed } from "../node/claimed.ts";
import type { SlotInput } from "../input.ts";
import { readNodeView } from "../node/node-view.ts";
import type { StepContext } from "../context.ts";
import { connect, requireReachable } from "../cluster/connect.ts";

/**
 * Stands in for a claim that is missing from the state, for a node whose VM is kept for its data: returns the VM's
 * recorded identity and changes nothing.
 * @throws UserError when the node is not in the pool's record
 */
export async function retain(context: StepContext, input: SlotInput): Promise<Claimed> {
  const access = requireReachable(await connect(context, input), input);
  const { own } = await readNodeView(access.client, input);
  if (own?.vmid === input.vmid) return claimedAs(input, own);
  throw new UserError({
    what: `VM ${input.vmid} is to be kept as ${input.node}, and nobody remembers it`,
    where: `the record of pool ${input.pool}`,
    todo: "restore the record (ConfigMap in evergreen-system) from a backup, then run again; nothing was done to the VM",
  });
}
