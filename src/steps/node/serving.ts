import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { isReady, saysNotReady, whyNotReady } from "../../clients/kubernetes/nodes.ts";
import { paths, type Node } from "../../clients/kubernetes/types.ts";
import { named, waitUntil } from "../../clients/kubernetes/watch.ts";
import { isRunning, type ListedVm } from "../../clients/proxmox/vms.ts";
import type { SchedulingObstacle } from "../../domain/availability/serving.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import type { SlotInput } from "../input.ts";
import {
  contradictions,
  expectedNode,
  isAnotherMachine,
  obstaclesOf,
  readNodeView,
  missingForMembership,
  type NodeView,
} from "./node-view.ts";
import type { StepContext } from "../context.ts";
import { NodeUnhealthy } from "./verdict.ts";

/**
 * Reads the node once the controllers have removed the taints of a node that is not Ready: on a busy control plane such
 * a taint comes and goes seconds after the node has become Ready. A taint that is left at the deadline is reported by
 * the caller.
 */
export async function awaitUntainted(context: StepContext, input: SlotInput, client: Kubernetes): Promise<NodeView> {
  const deadline = new Deadline(`the taints of ${input.node} to go`, input.site.timeouts.gate, context.stop);
  for (;;) {
    const view = await readNodeView(client, input);
    const waits = view.node && isReady(view.node) && obstaclesOf(view.node, input).some(isTransient);
    if (!waits || deadline.passed) return view;
    await waitUntil<Node, true>(client, named(paths.nodes, input.node), deadline, (seen) =>
      [...seen.values()].some((node) => obstaclesOf(node, input).some(isTransient)) ? undefined : true,
    ).catch((error: unknown) => {
      if (!(error instanceof DeadlineError)) throw error;
    });
  }
}

const isTransient = ({ by }: SchedulingObstacle): boolean => by === "controllers";

/**
 * Requires that the slot's node serves, before another node leaves the slot.
 * @throws ImageFault when the node itself is not what it has to be, or reports that it is unhealthy. A node that is
 *   silent, was turned off or is kept from serving by others is not judged: its next join has the time and the means to
 */
export async function requireServing(
  context: StepContext,
  input: SlotInput,
  view: NodeView,
  vms: readonly ListedVm[],
): Promise<void> {
  const { itsOwn, others } = missing(input, view);
  // A Node may look Ready for most of a minute after its VM has lost its power.
  const vm = vms.find(({ vmid }) => vmid === input.vmid);
  const runs = vm !== undefined && (await isRunning(context.pve, vm));
  if (!runs) others.push("its VM does not run");
  if (itsOwn.length + others.length === 0) return;
  const problem = {
    what: `${input.node} does not serve, so nobody leaves its slot: ${[...itsOwn, ...others].join("; ")}`,
    where: `slot ${input.slot} of pool ${input.pool}`,
    todo: "look at that node; pulumi up joins it again when its VM was turned off",
  };
  throw runs && itsOwn.length > 0 ? new NodeUnhealthy(problem) : new UserError(problem);
}

/**
 * What keeps a node from serving: its own state and reports (`itsOwn`), and what is unknown or was done to it
 * (`others`).
 */
function missing(input: SlotInput, { node, own }: NodeView): { itsOwn: string[]; others: string[] } {
  if (node === undefined) return { itsOwn: [], others: ["it has no Node"] };
  if (own === undefined) return { itsOwn: [], others: ["nobody remembers that it joined"] };
  const expected = expectedNode(input, { uuid: own.uuid });
  const hindering = obstaclesOf(node, input);
  const differs = contradictions(node, expected);
  // What another machine says under this name is no word of the node.
  if (isAnotherMachine(node, expected)) return { itsOwn: [], others: differs };
  const itsOwn = [
    ...differs,
    ...(saysNotReady(node) ? [whyNotReady(node)] : []),
    ...hindering.filter(({ by }) => by === "node").map(({ reason }) => reason),
  ];
  const others = [
    ...missingForMembership(node, expected).filter((reason) => !itsOwn.includes(reason)),
    ...(hasJoined(own) ? [] : [`it is ${own.phase}, not joined`]),
    ...hindering.filter(({ by }) => by !== "node").map(({ reason }) => reason),
  ];
  return { itsOwn, others };
}
