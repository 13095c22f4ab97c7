import { UserError } from "../../runtime/errors.ts";
import { claimedAs, type Claimed } from "./claim.ts";
import type { SlotInput } from "../input.ts";
import { known } from "../node/member.ts";
import type { Run } from "../run.ts";
import { look, reachable } from "../cluster/scene.ts";

/**
 * In the place of a claim that the state lacks of a node whose VM is kept for its data: says whose VM it is, as it is
 * remembered, and touches nothing.
 * @throws UserError when nobody remembers it
 */
export async function retain(run: Run, input: SlotInput): Promise<Claimed> {
  const access = reachable(await look(run, input), input);
  const { own } = await known(access.client, input);
  if (own?.vmid === input.vmid) return claimedAs(input, own);
  throw new UserError({
    what: `VM ${input.vmid} is to be kept as ${input.node}, and nobody remembers it`,
    where: `the record of pool ${input.pool}`,
    todo: "restore the record (ConfigMap in evergreen-system) from a backup, then run again; nothing was done to the VM",
  });
}
