import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import { writeGoingAway, readGoingAway } from "../kubernetes/record.ts";
import { markServers } from "./going-away.ts";
import type { GuardInput } from "./input.ts";
import type { Run } from "./run.ts";
import { look } from "./scene.ts";

/** The cluster stays: a mark that an interrupted destroy left is taken back. */
export async function guard(run: Run, input: GuardInput): Promise<{ guarded: string }> {
  const { vms, access } = await look(run, input);
  if (access && (await readGoingAway(access.client))) {
    await markServers(run, input, vms, "");
    await writeGoingAway(access.client, undefined);
    say(`${input.cluster} stays: the mark of an earlier destroy is taken back`);
  }
  return { guarded: input.cluster };
}

/**
 * `pulumi destroy` comes here first. It does not run the program, so what the last update allowed decides.
 * @throws UserError when the cluster may not be destroyed
 */
export async function unguard(run: Run, input: GuardInput): Promise<{ goingAway: string }> {
  if (!input.allowDestroy) {
    throw new UserError({
      what: `the cluster ${input.cluster} may not be destroyed`,
      where: "evergreen:allowDestroy, as of the last update of this stack",
      todo: "set it to true, run pulumi up, then pulumi destroy. Nothing was destroyed",
    });
  }
  const { vms, access } = await look(run, input);
  const since = new Date().toISOString();
  const marked = await markServers(run, input, vms, since);
  if (access) await writeGoingAway(access.client, since);
  say(`${input.cluster} is marked as going away (on ${marked} servers): its nodes are powered off without a drain`);
  return { goingAway: since };
}
