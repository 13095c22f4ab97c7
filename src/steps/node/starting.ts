import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { listNodes, nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Pod } from "../../clients/kubernetes/types.ts";
import { waitUntil } from "../../clients/kubernetes/watch.ts";
import { startingOnEach, type Starting } from "../../domain/availability/starting.ts";
import type { SlotInput } from "../input.ts";
import { owed } from "./placement.ts";
import type { StepContext } from "../context.ts";

/**
 * Waits until each new node of the pool that was given pods of those that this handover has evicted has started one: a
 * node on which none can be fetched or created takes no more of them, or the rollout would end with every pod of the
 * pool down (kops#7258). One is enough: a pod that fails alone fails by itself. They may be on the node of another slot,
 * since all new nodes can come first. Of the evicted none is waited for that could not start anywhere before.
 * @throws UserError that names the pods: no other node is drained. No image is judged, for the registry may be away
 */
export async function awaitStarted(context: StepContext, client: Kubernetes, input: SlotInput): Promise<void> {
  const { cluster, pool, generation, site } = input;
  const evicted = owed(await readPoolRecord(client, pool), input).filter((one) => !one.failing);
  if (evicted.length === 0) return;
  const nodes = [input.node, ...(await listNodes(client, { cluster, pool, generation })).map(nameOf)];
  let seen: Starting = { is: "unknown" };
  const deadline = new Deadline(`the pods that left for ${input.node} to start`, site.timeouts.gate, context.stop);
  try {
    await waitUntil<Pod, true>(client, { path: paths.pods }, deadline, (pods) => {
      seen = startingOnEach([...pods.values()], nodes, evicted);
      return seen.is === "started" ? true : undefined;
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    const refused = whatIsRefused(seen);
    if (refused === undefined)
      say(`no pod that left for ${input.node} has started in ${deadline.seconds} s, and none has failed`);
    else throw notStarted(input, deadline.seconds, refused, error);
  }
}

const whatIsRefused = (seen: Starting): string | undefined =>
  seen.is === "refused" ? seen.pods.join("; ") : undefined;

function notStarted(input: SlotInput, seconds: number, pods: string, cause: unknown): UserError {
  return new UserError(
    {
      what: `of the pods that left for ${input.node} none has started in ${seconds} s on a new node: ${pods}`,
      where: `slot ${input.slot} of pool ${input.pool}, whose new node serves`,
      todo: "bring the registry back, or mend what the image says of it (registries.yaml, certificates), or scale these pods down; then run again. No other node of the pool is drained before, and the image is not judged",
    },
    { cause },
  );
}
