import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import { deleteToken, isTokenGone, mintToken, tokenName } from "../../clients/kubernetes/bootstrap-token.ts";
import { readServerToken } from "../../clients/kubernetes/server-token.ts";
import { findNode, isReady, listNodes, nameOf, readySince } from "../../clients/kubernetes/nodes.ts";
import { findDaemons, findWithoutRoom } from "../../clients/kubernetes/daemons.ts";
import { belongsToNode, daemonOf, isPodReady } from "../../clients/kubernetes/pods.ts";
import { paths, type Node, type Pod } from "../../clients/kubernetes/types.ts";
import { named, waitUntil } from "../../clients/kubernetes/watch.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import { labels as ours } from "../../domain/model/formats.ts";
import { titleOf } from "../../domain/model/titles.ts";
import type { SlotInput } from "../input.ts";
import { unjudged } from "./attribution.ts";
import { joinData, writeJoinData } from "./join-data.ts";
import {
  contradictions,
  expectedNode,
  obstaclesOf,
  isAnotherMachine,
  missingForMembership,
  applyLabels,
  whySilent,
  type Expected,
} from "./node-view.ts";
import { attemptQuietly, type StepContext } from "../context.ts";
import { ImageFault, NeverRegistered, NodeUnhealthy } from "./verdict.ts";

/** What is known of a node before its join data is written. */
export interface Arrival {
  /** The boot id that the Node reported when its VM was still off. */
  bootBefore: string | undefined;
  /** The last heartbeat of the Node from when RKE2 did not run in its guest. */
  heartbeatBefore: string | undefined;
  /** Whether the node was a member before and returns. */
  isMember: boolean;
  /**
   * Throws when the node may not become a member any more; called right before its guest gets the join data.
   * @default always allowed
   */
  mayJoin?: () => Promise<void>;
  /** Called once the Node has registered: when it is gone after that, somebody has deleted it. */
  onNode?: () => void;
}

/**
 * Gives a running guest its join data and waits until its Node passes every check.
 * @throws ImageFault when the node registered but can never become what it has to be, or did not in time
 */
export async function awaitReady(
  context: StepContext,
  input: SlotInput,
  access: Access,
  vm: VmConfig,
  { mayJoin, onNode, ...arrival }: Arrival,
): Promise<Node> {
  const expected = { ...expectedNode(input, vm), ...arrival };
  // Time counts from when the join data is written: a delay before that is not the node's fault.
  const wellInTime = () =>
    awaitVerified(
      access,
      expected,
      onNode,
      new Deadline(`${input.node} to be Ready`, input.site.timeouts.join, context.stop),
    );
  if (access.server.vmid === vm.vmid) return await wellInTime();
  if (input.role === "server") {
    const { text: token } = await readServerToken(context.pve, access.server);
    await writeJoinData(context, vm, input, joinData(input, vm.host, { token }), mayJoin);
    return await wellInTime();
  }
  // The token lives a little longer than the wait: a slow node must not be refused for an expired token.
  const token = await mintToken(access.client, access.ca, input.node, input.site.timeouts.join + 120);
  try {
    await writeJoinData(context, vm, input, joinData(input, vm.host, token));
    return await wellInTime();
  } catch (error) {
    const isRefused = error instanceof NeverRegistered && (await isTokenGone(access.client, token));
    throw isRefused ? unjudged(error, `somebody has deleted its join token ${tokenName(token)}`) : error;
  } finally {
    await attemptQuietly("the join token", () => deleteToken(access.client, token));
  }
}

/** Waits for the Node's checks and then for the node's own pods: Ready once is not enough, it has to last. */
async function awaitVerified(
  { client }: Access,
  expected: Expected,
  onNode: Arrival["onNode"],
  deadline: Deadline,
): Promise<Node> {
  for (;;) {
    const node = await awaitNodeReady(client, expected, onNode, deadline);
    say(`${expected.name} is Ready`);
    // Labels come before the wait for its daemons: some of them select a node by such a label.
    await applyLabels(client, node, expected);
    await awaitPodsReady(client, node, expected, deadline);
    const again = await findNode(client, expected.name);
    if (again && isReady(again) && readySince(again) === readySince(node)) return again;
    say(`${expected.name} was Ready and is not any more`);
    if (deadline.passed) throw new NodeUnhealthy(deadline.error("Ready did not last").problem);
  }
}

async function awaitNodeReady(
  client: Access["client"],
  expected: Expected,
  onNode: Arrival["onNode"],
  deadline: Deadline,
): Promise<Node> {
  let last: Node | undefined;
  const awaited = (node: Node): string[] => [
    ...missingForMembership(node, expected),
    ...obstaclesOf(node, expected)
      .filter(({ by }) => by === "node" || by === "daemons" || expected.isMember !== true)
      .map(({ reason }) => reason),
  ];
  const blockedBy = (): string =>
    last ? awaited(last).join("; ") : "it never registered: see the end of its join.log";
  try {
    return await waitUntil<Node, Node>(
      client,
      named(paths.nodes, expected.name),
      deadline,
      (seen) => {
        last = [...seen.values()][0];
        if (last === undefined) return undefined;
        onNode?.();
        const wrong = contradictions(last, expected);
        if (wrong.length > 0) throw contradiction(last, expected, wrong);
        return awaited(last).length === 0 ? last : undefined;
      },
      blockedBy,
    );
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    if (last && isKeptByOthers(last, expected)) {
      const waiting = await findUnreadyDaemons(client, last, expected);
      if (waiting.length === 0) throw keptByOthers(error);
      const { where } = error.problem;
      throw new NodeUnhealthy({ ...error.problem, where: `${where}; ${waiting.join("; ")}` }, { cause: error });
    }
    const isHeard = last !== undefined && whySilent(last, expected) === undefined;
    throw new (isHeard ? NodeUnhealthy : NeverRegistered)(error.problem, { cause: error });
  }
}

/**
 * Whether the node itself is as it has to be and only something else keeps pods away from it: that says nothing about
 * its image.
 */
function isKeptByOthers(node: Node, expected: Expected): boolean {
  return (
    missingForMembership(node, expected).length === 0 && obstaclesOf(node, expected).every(({ by }) => by !== "node")
  );
}

/** Daemons that may keep a startup taint on the node, because they do not work there; empty: it has no such taint. */
async function findUnreadyDaemons(client: Access["client"], node: Node, expected: Expected): Promise<string[]> {
  if (obstaclesOf(node, expected).every(({ by }) => by !== "daemons")) return [];
  const { unready } = await findDaemons(client, node, expected.labels);
  const { items } = await client.list<Pod>(paths.pods, { fieldSelector: `spec.nodeName=${nameOf(node)}` });
  return items.filter((pod) => isAwaited(pod, unready) && !isPodReady(pod)).map(sayUnready);
}

const isAwaited = (pod: Pod, unready: ReadonlySet<string>) => belongsToNode(pod) && !unready.has(daemonOf(pod) ?? "");
const sayUnready = (pod: Pod) => `${titleOf(pod)} is not Ready`;

function keptByOthers(error: DeadlineError): UserError {
  const { what, where } = error.problem;
  const todo =
    "remove it, or name the taint in taints (it stays) or startupTaints (it goes) of the pool; see to the controller that removes a startup taint once the daemons are Ready. Then run pulumi up again. The image was not judged";
  return new UserError({ what, where, todo }, { cause: error });
}

/**
 * The error for a Node that is not what it has to be. A wrong SMBIOS uuid comes from the VM and not from its image:
 * another machine has the name.
 */
function contradiction(node: Node, expected: Expected, wrong: string[]): UserError {
  const found = {
    what: `${expected.name} registered and is not what it has to be: ${wrong.join("; ")}`,
    where: `Node ${expected.name}, image ${expected.spec.image}`,
  };
  if (isAnotherMachine(node, expected))
    return new UserError({
      ...found,
      todo: "find the machine with that uuid, such as a copy or a restored backup that runs under this name, turn it off and delete the Node, then run pulumi up again. The image was not judged",
    });
  return new ImageFault({
    ...found,
    todo: "bake the image again; what it claims in its name, its tags and image.json must be what it holds",
  });
}

/**
 * Waits for the daemons and static pods of the node to be Ready. Other workloads may come and go, and a DaemonSet that
 * is Ready on no node shows nothing about this one.
 */
async function awaitPodsReady(
  client: Access["client"],
  node: Node,
  { labels }: Expected,
  deadline: Deadline,
): Promise<void> {
  let waiting: string[] = [];
  let missing: string[] = [];
  const { expected, unready } = await findDaemons(client, node, labels);
  for (const daemon of await findRoomlessOnPeers(client, node)) expected.delete(daemon);
  const onNode = { path: paths.pods, query: { fieldSelector: `spec.nodeName=${nameOf(node)}` } };
  try {
    await waitUntil<Pod, true>(
      client,
      onNode,
      deadline,
      (seen) => {
        const pods = [...seen.values()];
        waiting = pods.filter((pod) => isAwaited(pod, unready) && !isPodReady(pod)).map(sayUnready);
        missing = [...expected]
          .filter(([uid]) => !pods.some((pod) => daemonOf(pod) === uid))
          .map(([, name]) => `DaemonSet ${name} has no pod on it`);
        return waiting.length + missing.length === 0 ? true : undefined;
      },
      () => [...waiting, ...missing].join("; "),
    );
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    if (waiting.length > 0) throw new NodeUnhealthy(error.problem, { cause: error });
    // A pod that was not created, or has no room, says nothing about the node that it would run on.
    const rooms = await findWithoutRoom(client);
    const whys = [...expected.keys()].flatMap((uid) => rooms.get(uid)?.get(nameOf(node)) ?? []);
    throw whys.length === 0 ? error : deadline.error(`${missing.join("; ")}: ${whys.join("; ")}`);
  }
}

/** DaemonSets whose pods wait for room on every other node of the pool: this one need not have what no other has. */
async function findRoomlessOnPeers(client: Access["client"], node: Node): Promise<string[]> {
  const rooms = await findWithoutRoom(client);
  if (rooms.size === 0) return [];
  const { [ours.cluster]: cluster = "", [ours.pool]: pool = "" } = node.metadata?.labels ?? {};
  const peers = (await listNodes(client, { cluster, pool })).map(nameOf).filter((name) => name !== nameOf(node));
  const isCommon = (waiting: ReadonlyMap<string, string>) => peers.every((name) => waiting.has(name));
  return peers.length === 0 ? [] : [...rooms].flatMap(([daemon, waiting]) => (isCommon(waiting) ? [daemon] : []));
}
