import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { findAccess, SilentServers } from "../../clients/kubernetes/access.ts";
import { requireOwnCluster } from "../../clients/kubernetes/own-cluster.ts";
import { announceTeardown, findServing, withdrawTeardown, type Witnesses } from "../../clients/kubernetes/teardown.ts";
import { listVms } from "../../clients/proxmox/vms.ts";
import type { GuardInput } from "../input.ts";
import type { StepContext } from "../context.ts";
import { clusterSite } from "../cluster/connect.ts";

/**
 * Confirms that the cluster stays: removes the teardown mark that an interrupted destroy left.
 * @throws UserError when a mark cannot be removed
 */
export async function guard(context: StepContext, input: GuardInput): Promise<{ guarded: string }> {
  if (await withdrawTeardown(await findWitnesses(context, input)))
    say(`${input.cluster} stays: the mark of an earlier destroy is taken back`);
  return { guarded: input.cluster };
}

/**
 * Marks the cluster as being torn down; `pulumi destroy` runs it first. A destroy does not run the program, so the
 * setting of the last update decides, and this step takes the cluster's update lease for the engine. A cluster whose API
 * does not answer has nothing to hold it by.
 * @throws UserError when the cluster may not be destroyed, this is an update that keeps it, another update of it runs, or
 * the VM of one of its servers cannot be marked
 */
export async function unguard(context: StepContext, input: GuardInput): Promise<{ goingAway: string }> {
  if (!input.allowDestroy) {
    throw new UserError({
      what: `the cluster ${input.cluster} may not be destroyed`,
      where: "evergreen:allowDestroy, as of the last update of this stack",
      todo: "set it to true, run pulumi up, then pulumi destroy. Nothing was destroyed",
    });
  }
  if (!context.mayTearDown) {
    throw new UserError({
      what: `the guard of the cluster ${input.cluster} is deleted by an update that keeps the cluster`,
      where:
        "its resource in the engine's state: its name or its parent has changed, as when its component was renamed or moved",
      todo: "give it back the name and the parent that it had, or name them in the component's `aliases`, then run pulumi up again; to take the whole cluster away, run pulumi destroy. Nothing was destroyed",
    });
  }
  const witnesses = await findWitnesses(context, input);
  if (witnesses.client) await context.update?.(witnesses.client);
  const since = new Date().toISOString();
  const marked = await announceTeardown(witnesses, since);
  say(`${input.cluster} is marked as going away (on ${marked} servers): its nodes are powered off without a drain`);
  return { goingAway: since };
}

/**
 * Where the teardown mark is kept. A cluster that does not answer can still be kept or torn down: then the VMs of its
 * servers alone carry the mark.
 * @throws AnotherCluster
 */
async function findWitnesses({ pve }: StepContext, input: GuardInput): Promise<Witnesses> {
  const site = clusterSite(input);
  const vms = await listVms(pve);
  const access = await findAccess(pve, vms, site).catch((error: unknown) => {
    if (error instanceof SilentServers) return undefined;
    throw error;
  });
  const serving = await findServing(access);
  if (serving) await requireOwnCluster(serving, vms, input.cluster);
  return { pve, site, vms, client: serving?.client };
}
