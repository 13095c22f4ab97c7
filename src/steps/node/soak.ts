import { clock } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { findDaemonsUnreadyEverywhere } from "../../clients/kubernetes/daemons.ts";
import { say } from "../../runtime/log.ts";
import {
  isReady,
  nameOf,
  readySince,
  saysNotReady,
  selector,
  uuidOf,
  whyNotReady,
} from "../../clients/kubernetes/nodes.ts";
import { restartedOn } from "../../clients/kubernetes/pods.ts";
import { paths, type Node, type Pod } from "../../clients/kubernetes/types.ts";
import { waitUntil, type Seen } from "../../clients/kubernetes/watch.ts";
import { listVms } from "../../clients/proxmox/vms.ts";
import type { Generation } from "../../domain/model/types.ts";
import { findCause } from "./attribution.ts";
import type { PoolInput } from "../input.ts";
import { attemptQuietly, type StepContext } from "../context.ts";
import { findReloading } from "./unproved-registries.ts";
import { judgeFailed } from "./verdict.ts";

/** How far apart it becomes known that nodes are silent that fell silent together, in milliseconds. */
const apartMs = 20_000;

/** What happened to a node of the soak. */
interface Degradation {
  node: string;
  why: string;
  /** Its Node is gone: no node deletes itself. */
  isGone: boolean;
  /** Nothing is heard of it, as opposed to what it says itself. @default false */
  isSilent?: boolean;
  /** What else may be the cause of it. @default nothing that is known yet */
  excuse?: string;
}

/**
 * Watches the new nodes for a while. A node that is not Ready for a moment, or restarts its own pods, fails the soak.
 * With an external cause there is no verdict, and the next run watches again.
 * @throws UserError
 */
export async function soak(
  context: StepContext,
  client: Kubernetes,
  input: PoolInput,
  generation: Generation,
  nodes: readonly Node[],
  seconds: number,
): Promise<void> {
  const watched = new Map(nodes.map((node) => [nameOf(node), node]));
  const { items: nodesBefore } = await client.list<Node>(paths.nodes);
  const [silenceBefore, since] = [client.silence, clock.elapsed()];
  const before = {
    pods: (await client.list<Pod>(paths.pods)).items,
    unready: await findDaemonsUnreadyEverywhere(client),
  };
  const reloading = await findReloading(context, watched.keys());
  const fall =
    (await watchFor(context, client, input, watched, seconds)) ?? (await findRestarted(client, before, watched));
  if (fall === undefined) return;
  const where = `pool ${input.pool}, within the soak of ${seconds} s`;
  const excuse =
    fall.excuse ??
    (reloading.has(fall.node) ? "its RKE2 was told to restart for other registries before" : undefined) ??
    (await findExcuse(context, client, input, fall, { silenceBefore, since, before: nodesBefore }));
  if (excuse !== undefined)
    throw new UserError({
      what: `the soak of generation ${generation.id} was disturbed: ${fall.why}`,
      where: `${where}; ${excuse}`,
      todo: "see to that first, then run pulumi up again: it watches anew. The image was not judged",
    });
  await attemptQuietly("the verdict", () => judgeFailed(client, input.pool, generation, fall.why));
  throw new UserError({
    what: `generation ${generation.id} did not hold: ${fall.why}`,
    where,
    todo: "look at that node. The next pulumi up keeps everything or goes back, as onFailure of the pool says",
  });
}

/**
 * Of nodes that fall silent together, as in an outage of a network, that becomes known within seconds of each other,
 * which are waited for; by then they may be back.
 */
async function findExcuse(
  context: StepContext,
  client: Kubernetes,
  { pool, plan }: PoolInput,
  { node: name, isGone, isSilent }: Degradation,
  { since, ...begun }: { silenceBefore: number; since: number; before: readonly Node[] },
): Promise<string | undefined> {
  if (isGone) return "a node does not delete its own Node";
  const own = plan.slots.find((slot) => slot.name === name);
  const { vmid = 0, slot = -1 } = own ?? {};
  const lookAgain = async () => {
    const host = (await listVms(context.pve)).find((vm) => vm.vmid === vmid)?.host ?? "an unknown host";
    const runsFor = Math.floor((clock.elapsed() - since) / 1000);
    const place = { pool, slot, generation: own?.generation ?? "" };
    return await findCause(context, { name, ...place, vm: { host, vmid }, client, ...begun, runsFor });
  };
  const cause = await lookAgain();
  if (cause !== undefined || isSilent !== true) return cause;
  say(`nothing is heard of ${name}: in ${apartMs / 1000} s it is known whether others are silent, too`);
  await clock.sleep(apartMs, context.stop).catch(() => context.stop.throwIfAborted());
  return await lookAgain();
}

/**
 * Watches until a node fails or the time is over.
 * @returns what failed, or undefined when everything held until the time was over
 */
async function watchFor(
  context: StepContext,
  client: Kubernetes,
  input: PoolInput,
  before: ReadonlyMap<string, Node>,
  seconds: number,
): Promise<Degradation | undefined> {
  const watched = {
    path: paths.nodes,
    query: { labelSelector: selector({ cluster: input.cluster, pool: input.pool }) },
  };
  try {
    return await waitUntil<Node, Degradation>(
      client,
      watched,
      new Deadline("the soak", seconds, context.stop),
      (seen) => degraded(before, seen),
    );
  } catch (error) {
    context.stop.throwIfAborted();
    if (!(error instanceof DeadlineError)) throw error;
    // A watch that was down for the whole time has seen no failure: the soak passes only if one more read of the nodes
    // shows none either.
    const { items } = await client.list<Node>(watched.path, watched.query);
    return degraded(before, new Map(items.map((node) => [`/${nameOf(node)}`, node])));
  }
}

/** What changed for the worse since `before`. */
function degraded(before: ReadonlyMap<string, Node>, seen: Seen<Node>): Degradation | undefined {
  for (const [name, was] of before) {
    const node = seen.get(`/${name}`);
    // A Node with another uid was deleted and has registered anew.
    const isGone = node === undefined || node.metadata?.uid !== was.metadata?.uid;
    const why = isGone ? "has left the cluster" : whatChanged(was, node);
    if (why === undefined) continue;
    const isOther = node !== undefined && uuidOf(node) !== uuidOf(was);
    return {
      node: name,
      why: `${name} ${why}`,
      isGone,
      isSilent: node !== undefined && isSilent(was, node),
      ...(isOther && { excuse: `another machine has its name, with the SMBIOS uuid ${uuidOf(node)}` }),
    };
  }
  return undefined;
}

/** Whether the node has not said itself why it is not Ready, or was not, and has not restarted. */
function isSilent(was: Node, node: Node): boolean {
  return !saysNotReady(node) && node.status?.nodeInfo?.bootID === was.status?.nodeInfo?.bootID;
}

function whatChanged(was: Node, node: Node): string | undefined {
  if (!isReady(node)) return `is not Ready: ${whyNotReady(node)}`;
  if (readySince(node) !== readySince(was)) return "was not Ready for a moment";
  return node.status?.nodeInfo?.bootID === was.status?.nodeInfo?.bootID ? undefined : "restarted";
}

async function findRestarted(
  client: Kubernetes,
  { pods: before, unready }: { pods: readonly Pod[]; unready: ReadonlySet<string> },
  nodes: ReadonlyMap<string, Node>,
): Promise<Degradation | undefined> {
  const after = await client.list<Pod>(paths.pods);
  const restarted = restartedOn(new Set(nodes.keys()), before, after.items, unready);
  const proofs = restarted.filter(({ isUntried }) => !isUntried);
  const named = proofs.length > 0 ? proofs : restarted;
  const [first] = named;
  if (first === undefined) return undefined;
  const why = `restarted during the soak: ${named.map(({ name }) => name).join(", ")}`;
  return { node: first.node, why, isGone: false, ...(first.isUntried && { excuse: untried }) };
}

const untried = "of a new version of the DaemonSet, which is Ready on no other node";
