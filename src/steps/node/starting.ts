import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Pod } from "../../clients/kubernetes/types.ts";
import { waitUntil } from "../../clients/kubernetes/watch.ts";
import { startingOn, type Starting } from "../../domain/availability/starting.ts";
import type { SlotInput } from "../input.ts";
import { owed } from "./placement.ts";
import type { StepContext } from "../context.ts";

/**
 * Waits until one of the pods that the slot's node was given has started: a node on which none can be fetched or created
 * takes no more of them, or the rollout would end with every pod of the pool down (kops#7258). One is enough: a pod that
 * fails alone fails by itself. Only pods that were evicted for the node are waited for, and of these none that could not
 * start anywhere before.
 * @throws UserError that names the pods: no other node is drained. No image is judged, for the registry may be away
 */
export async function awaitStarted(context: StepContext, client: Kubernetes, input: SlotInput): Promise<void> {
  let seen: Starting = { is: "unknown" };
  const evicted = owed(await readPoolRecord(client, input.pool), input).filter((one) => !one.failing);
  const deadline = new Deadline(`the pods of ${input.node} to start`, input.site.timeouts.gate, context.stop);
  const onNode = { path: paths.pods, query: { fieldSelector: `spec.nodeName=${input.node}` } };
  try {
    await waitUntil<Pod, true>(client, onNode, deadline, (pods) => {
      seen = startingOn([...pods.values()], evicted);
      return seen.is === "started" ? true : undefined;
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    const refused = whatIsRefused(seen);
    if (refused === undefined) say(`no pod has started on ${input.node} in ${deadline.seconds} s, and none has failed`);
    else throw notStarted(input, deadline.seconds, refused, error);
  }
}

const whatIsRefused = (seen: Starting): string | undefined =>
  seen.is === "refused" ? seen.pods.join("; ") : undefined;

function notStarted(input: SlotInput, seconds: number, pods: string, cause: unknown): UserError {
  return new UserError(
    {
      what: `no pod that came to ${input.node} has started in ${seconds} s: ${pods}`,
      where: `slot ${input.slot} of pool ${input.pool}, whose new node serves`,
      todo: "bring the registry back, or mend what the image says of it (registries.yaml, certificates), or scale these pods down; then run again. No other node of the pool is drained before, and the image is not judged",
    },
    { cause },
  );
}
