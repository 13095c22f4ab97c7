/** Whether a cluster goes away as a whole, as a step of it finds out while its API may go too. */
import { clock } from "../../runtime/clock.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import { readGoingAway } from "../../clients/kubernetes/cluster-record.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { findServing, isBeingTornDown } from "../../clients/kubernetes/teardown.ts";
import type { ListedVm } from "../../clients/proxmox/vms.ts";
import type { StepContext } from "../context.ts";
import type { ClusterInput } from "../input.ts";
import { clusterSite } from "./connect.ts";

/** How long the API may be silent before it is checked again whether it serves, in milliseconds. */
const patienceMs = 10_000;

const noAnswer = (): undefined => undefined;

/** What an answer of the API has come to; undefined when it takes longer than usual. An error is an answer. */
export async function awaitSoon<T>(answer: Promise<T>): Promise<PromiseSettledResult<T> | undefined> {
  const over = new AbortController();
  const late = clock.sleep(patienceMs, over.signal).then(noAnswer, noAnswer);
  const settled = Promise.allSettled([answer]).then(([result]) => result);
  return await Promise.race([settled, late]).finally(() => over.abort());
}

/**
 * Whether the marks say that the cluster goes away as a whole, for an engine that may take it away. The notes of the VMs
 * may be those of a destroy that was given up.
 * @param client undefined: the cluster cannot be asked, and the notes of its servers' VMs decide
 * @throws when a VM's notes are needed and cannot be read
 */
export async function isGivenUp(
  { pve, mayTearDown }: StepContext,
  input: ClusterInput,
  vms: readonly ListedVm[],
  client?: Kubernetes,
): Promise<boolean> {
  return mayTearDown && (await isBeingTornDown({ pve, site: clusterSite(input), vms, client }));
}

/**
 * Whether the cluster goes away as a whole. A destroy that is repeated runs no guard any more, and another run may keep the
 * cluster by now: so the mark counts only under the lease of the update. An API that goes in the meantime has nothing to
 * hold it by, as for the guard.
 * @throws UserError when another update of the cluster runs
 */
export async function isGoingAway(
  context: StepContext,
  input: ClusterInput,
  { access, vms }: { access: Access; vms: readonly ListedVm[] },
): Promise<boolean> {
  if (!context.mayTearDown) return false;
  const { client } = access;
  const isMarked = async (): Promise<boolean> => {
    if (!(await readGoingAway(client))) return false;
    await context.update?.(client);
    return await readGoingAway(client);
  };
  const marked = isMarked();
  const answer = await awaitSoon(marked);
  if (answer?.status === "fulfilled") return answer.value;
  if (await findServing(access)) return await marked;
  return await isGivenUp(context, input, vms);
}
