import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { listNodes, nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Pod } from "../../clients/kubernetes/types.ts";
import { waitUntil } from "../../clients/kubernetes/watch.ts";
import { startingOnEach, type NotStarted } from "../../domain/availability/starting.ts";
import type { SlotInput } from "../input.ts";
import { owed } from "./placement.ts";
import type { StepContext } from "../context.ts";

/**
 * Waits until each new node of the pool that was given pods of those that this handover has evicted has started one: a
 * node on which none can be fetched, created or mounted takes no more of them, or the rollout would end with every pod of
 * the pool down (kops#7258). One is enough: a pod that fails alone fails by itself. They may be on the node of another
 * slot, since all new nodes can come first. Of the evicted none is waited for that could not start anywhere before.
 * A node has the whole time since it was given its first pod: one that got it while this step waited is waited for again.
 * @throws UserError that names the pods: no other node is drained. No image is judged, for the registry, a driver of
 *   volumes or the network of pods may be away
 */
export async function awaitStarted(context: StepContext, client: Kubernetes, input: SlotInput): Promise<void> {
  const { cluster, pool, generation } = input;
  const evicted = owed(await readPoolRecord(client, pool), input).filter((one) => !one.failing);
  if (evicted.length === 0) return;
  const nodes = [input.node, ...(await listNodes(client, { cluster, pool, generation })).map(nameOf)];
  let before: NotStarted[] | undefined;
  for (;;) {
    const { first, last } = await watchOnce(context, client, input, (pods) => startingOnEach(pods, nodes, evicted));
    const had: readonly NotStarted[] = before ?? first;
    const late = last.filter(({ node }) => had.some((one) => one.node === node));
    if (late.length > 0) throw notStarted(input, late);
    if (last.length === 0) return;
    before = last;
  }
}

/**
 * Watches until every node has started a pod, for as long as a gate may take.
 * @returns the nodes that had not at the first look, and those that have not at the last one
 */
async function watchOnce(
  context: StepContext,
  client: Kubernetes,
  { node, site }: SlotInput,
  read: (pods: Pod[]) => NotStarted[],
): Promise<{ first: NotStarted[]; last: NotStarted[] }> {
  let first: NotStarted[] | undefined;
  let last: NotStarted[] = [];
  const deadline = new Deadline(`the pods that left for ${node} to start`, site.timeouts.gate, context.stop);
  try {
    await waitUntil<Pod, true>(client, { path: paths.pods }, deadline, (pods) => {
      last = read([...pods.values()]);
      first ??= last;
      return last.length === 0 ? true : undefined;
    });
  } catch (error) {
    // A list of pods that never came shows nothing of them.
    if (!(error instanceof DeadlineError) || first === undefined) throw error;
  }
  return { first: first ?? [], last };
}

function notStarted(input: SlotInput, late: readonly NotStarted[]): UserError {
  const isRefused = late.some(({ is }) => is === "refused");
  return new UserError({
    what: `of the pods that left for ${input.node} none has started in ${input.site.timeouts.gate} s on a new node: ${late.flatMap(({ pods }) => pods).join("; ")}`,
    where: `slot ${input.slot} of pool ${input.pool}, whose new node serves`,
    todo: `${isRefused ? REFUSED : WAITING}; then run again. No other node of the pool is drained before, and the image is not judged`,
  });
}

const REFUSED =
  "bring the registry back, or mend what the image says of it (registries.yaml, certificates), or scale these pods down";
const WAITING =
  "look at the events of these pods (kubectl describe pod): a volume that is not mounted, a driver or a program that the image lacks (nfs-common, open-iscsi), a network of pods that gives no address; mend that, or configure another image, or raise timeouts.gateSeconds where the images of pods are large";
