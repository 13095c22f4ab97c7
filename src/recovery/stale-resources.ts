import { evictionRequestedBy, leaseNames } from "../domain/model/formats.ts";
import { Deadline, DeadlineError } from "../runtime/deadline.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Config } from "../config/config.ts";
import { guest } from "../../images/contract.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { observeLeases } from "../clients/kubernetes/lease-observer.ts";
import {
  forgetLonghornNode,
  isOurRequest,
  listLonghornNodes,
  withdrawEviction,
} from "../clients/kubernetes/longhorn.ts";
import { proveGone } from "../clients/kubernetes/gone.ts";
import { deleteNode, emptierOf, isOurCordon, listNodes, nameOf, uncordon } from "../clients/kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../clients/kubernetes/record.ts";
import { paths, type Lease, type Secret } from "../clients/kubernetes/types.ts";
import { isAgentSilent, isNoSuchFile, withAgent, writeFile } from "../clients/proxmox/agent.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { silentHostOf } from "../clients/proxmox/errors.ts";
import { findTaken } from "../clients/proxmox/vms.ts";
import type { LonghornNode } from "../domain/drain/longhorn.ts";
import { hasNumberOf } from "../domain/rollout/hidden-vms.ts";
import { hasJoined } from "../domain/rollout/slot-state.ts";
import type { NodeRecord } from "../domain/model/types.ts";

/** Something that a killed run left behind, and how it is finished or undone. */
export interface StaleResource {
  /** Description for the operator, one line. */
  what: string;
  /**
   * A node that has served was deleted manually: it is repaired only when an operator requests it (`evergreen repair`),
   * and by no update, not even that of `evergreen up`.
   */
  needsOperator?: boolean;
  /** @returns what was done, in the past tense, or why it was left */
  mend: () => Promise<string | { left: string }>;
}

/**
 * Finds resources that no running step owns. A step renews its lease until it ends, so resources of a slot without a
 * live lease have no owner.
 */
export async function findStaleResources(
  pve: Proxmox,
  config: Config,
  observed: ObservedCluster,
): Promise<StaleResource[]> {
  const { kubernetes } = observed;
  if (!kubernetes) return [];
  // The lease of the update is not the lease of a step.
  const { expired, held } = await observeLeases(kubernetes, [leaseNames.update]);
  // The previous run and its steps may have ended after the state was observed: with fresh records, the nodes that they
  // decommissioned stay as they are.
  const now = { ...observed, records: await readRecords(kubernetes, observed) };
  return [
    ...expired.map((lease) => expiredLease(kubernetes, lease)),
    ...(await findAbandonedCordons(pve, kubernetes, config.cluster, now, held)),
    ...(await findAbandonedEvictions(kubernetes, now, held)),
    ...(await findExpiredTokens(kubernetes)),
    ...(await findLostNodes(pve, kubernetes, now, held)),
  ];
}

function expiredLease(kubernetes: Kubernetes, { metadata, spec }: Lease): StaleResource {
  const name = metadata?.name ?? "";
  return {
    what: `the lease ${name} of a step that ended without giving it back (${spec?.holderIdentity ?? "nobody"})`,
    mend: async () => {
      const { resourceVersion } = metadata ?? {};
      await kubernetes.delete(`${paths.leases}/${name}`, resourceVersion === undefined ? {} : { resourceVersion });
      return `released the lease ${name}`;
    },
  };
}

/** Evergreen's cordons on nodes that stay, and its marks beside cordons of others. A retired node stays cordoned: it must not get new pods. */
async function findAbandonedCordons(
  pve: Proxmox,
  kubernetes: Kubernetes,
  cluster: string,
  observed: ObservedCluster,
  held: ReadonlySet<string>,
): Promise<StaleResource[]> {
  const nodes = (await listNodes(kubernetes, { cluster })).filter((node) => emptierOf(node) !== undefined);
  return nodes.flatMap((node) => {
    const name = nameOf(node);
    const known = observed.nodes.find((one) => one.name === name);
    const phase = known && recordOf(observed, known.pool, name)?.phase;
    if (!known || phase === "retired" || held.has(leaseNames.slot(known.pool, known.slot))) return [];
    const own = observed.vms.find((vm) => vm.uuid === known.uuid);
    const server = known.role === "server" ? own : undefined;
    const [ours, by] = [isOurCordon(node), emptierOf(node) ?? ""];
    // The server's guest resumes serving only when its marker is cleared. That needs a VM in sight and an answering
    // Proxmox host; for a server that is off, its join does it.
    if (own?.unreachable !== undefined || (known.role === "server" && server?.running !== true)) return [];
    return [
      {
        what: ours
          ? `${name} is cordoned by a run that ended (${by})`
          : `${name} is told to leave by a run that ended (${by}), and cordoned by somebody else`,
        mend: async () => {
          const untold = server && (await clearStepDown(pve, server));
          if (untold !== undefined) return { left: untoldWords(untold) };
          // The cordon is removed last: it shows the next run that there is something to undo.
          await uncordon(kubernetes, name);
          const done = ours ? `uncordoned ${name}` : `left the cordon of somebody else on ${name}`;
          return `${done}${server ? ", and it gets requests again" : ""}`;
        },
      },
    ];
  });
}

/** Replica evictions that Evergreen requested for a node that stays, and Longhorn's objects of decommissioned nodes. */
async function findAbandonedEvictions(
  kubernetes: Kubernetes,
  observed: ObservedCluster,
  held: ReadonlySet<string>,
): Promise<StaleResource[]> {
  const asked = (await listLonghornNodes(kubernetes)).filter(isOurRequest);
  return asked.flatMap((storage) => {
    const name = nameOf(storage);
    const known = observed.nodes.find((one) => one.name === name);
    const record = [...observed.records.values()].flatMap(({ pool, nodes }) =>
      nodes.filter((node) => node.name === name).map(({ slot, phase }) => ({ pool, slot, phase })),
    )[0];
    const owner = known ?? record;
    if (!owner || held.has(leaseNames.slot(owner.pool, owner.slot))) return [];
    if (!known) return [forgotten(kubernetes, storage)];
    if (record?.phase === "retired") return [];
    const by = storage.metadata?.annotations?.[evictionRequestedBy] ?? "";
    return [
      {
        what: `${name} gives up its Longhorn replicas for a run that ended (${by})`,
        mend: async () => {
          await withdrawEviction(kubernetes, storage);
          return `Longhorn keeps its replicas on ${name}`;
        },
      },
    ];
  });
}

function forgotten(kubernetes: Kubernetes, storage: LonghornNode): StaleResource {
  const name = nameOf(storage);
  return {
    what: `Longhorn lists ${name}, which was retired`,
    mend: async () => {
      const gone = await forgetLonghornNode(kubernetes, storage, new Deadline(`Longhorn to forget ${name}`, 10));
      return gone ? `Longhorn has forgotten ${name}` : { left: `Longhorn keeps ${name}: look at it there` };
    },
  };
}

/**
 * Clears the marker by which a server steps down, so that it resumes serving. An adopted server may not have the
 * directory of that file: then it never got the marker.
 * @returns why the marker cannot be cleared now: a problem of one guest does not end a run that concerns other nodes
 */
async function clearStepDown(pve: Proxmox, vm: { host: string; vmid: number }): Promise<string | undefined> {
  try {
    await withAgent(`VM ${vm.vmid}`, undefined, () => writeFile(pve, vm, guest.yield, ""));
    return undefined;
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    if (!isAgentSilent(error) && !(error instanceof DeadlineError) && silentHostOf(error) === undefined) throw error;
    return messageOf(error);
  }
}

const untoldWords = (why: string): string =>
  `left as it is, for its guest cannot be told that it stays: ${why}. Bring its guest agent back (systemctl restart qemu-guest-agent in the guest, qm guest cmd VMID fsfreeze-thaw for one that is frozen), then run again`;

/** Expired join tokens that Evergreen made and that were not deleted after their join. */
async function findExpiredTokens(kubernetes: Kubernetes): Promise<StaleResource[]> {
  const query = { labelSelector: "app.kubernetes.io/managed-by=evergreen" };
  const { items } = await kubernetes.list<Secret>(paths.systemSecrets, query);
  const expiry = ({ data }: Secret): number =>
    Date.parse(Buffer.from(data?.expiration ?? "", "base64").toString("utf8"));
  return items
    .filter((secret) => secret.type === "bootstrap.kubernetes.io/token" && expiry(secret) < kubernetes.now().getTime())
    .map(({ metadata }) => ({
      what: `the join token ${metadata?.name ?? ""} is past its time`,
      mend: async () => {
        await kubernetes.delete(`${paths.systemSecrets}/${metadata?.name ?? ""}`);
        return `deleted the join token ${metadata?.name ?? ""}`;
      },
    }));
}

/**
 * Recorded nodes whose VM is gone: it is not in the list, and its VMID is free, or another node's since, as after the
 * restore of an etcd snapshot that is older than one round of the pool's VMIDs. A retired one counts too while its Node
 * is left: its VM was deleted by hand before its retirement was over. Before such a node is removed from the
 * cluster, this is checked once more, and also that its Node is not Ready.
 */
async function findLostNodes(
  pve: Proxmox,
  kubernetes: Kubernetes,
  observed: ObservedCluster,
  held: ReadonlySet<string>,
): Promise<StaleResource[]> {
  const isAnothers = (node: NodeRecord): boolean => observed.vms.some((vm) => hasNumberOf(vm, node));
  const exists = (node: NodeRecord): boolean =>
    (observed.takenVmids.includes(node.vmid) && !isAnothers(node)) ||
    observed.vms.some((vm) => vm.uuid === node.uuid || vm.name === node.name);
  const hasNode = ({ name, uuid }: NodeRecord): boolean =>
    observed.nodes.some((node) => node.name === name && node.uuid === uuid);
  const isDue = (node: NodeRecord): boolean =>
    node.phase !== "retired" || hasNode(node) || kubernetes.now().getTime() - Date.parse(node.since) > keptMs;
  const unseen = [...observed.records.values()].flatMap(({ pool, nodes }) =>
    nodes
      .filter((node) => !exists(node) && isDue(node) && !held.has(leaseNames.slot(pool, node.slot)))
      .map((node) => ({ pool, node })),
  );
  const numbers = unseen.filter(({ node }) => !isAnothers(node)).map(({ node }) => node.vmid);
  const taken = new Set(await findTaken(pve, numbers));
  const gone = unseen.filter(({ node }) => !taken.has(node.vmid));
  return gone.map(({ pool, node }) => {
    if (node.phase === "retired" && !hasNode(node)) return old(kubernetes, pool, node);
    const served = hasJoined(node) || observed.nodes.some(({ name }) => name === node.name);
    return { ...lost(pve, kubernetes, pool, node), needsOperator: served };
  });
}

function lost(pve: Proxmox, kubernetes: Kubernetes, pool: string, node: NodeRecord): StaleResource {
  const left = { what: `the VM ${node.vmid} of ${node.name} is gone, and its Node is left` };
  const served = { what: `the VM ${node.vmid} of ${node.name} is gone, and it was not retired` };
  return {
    ...(node.phase === "retired" ? left : served),
    mend: async () => {
      const found = await proveGone(pve, kubernetes, node);
      if (found) await deleteNode(kubernetes, node.name, found.metadata?.uid);
      // It stays recorded as retired: its VMID is the last to be used again, and its uuid identifies no VM any more.
      const since = kubernetes.now().toISOString();
      await writeFacts(kubernetes, pool, { nodes: [{ ...node, phase: "retired", since }] });
      return found ? `deleted the Node ${node.name}; the next update makes another VM` : "it counts as retired now";
    },
  };
}

/** How long a retired node stays recorded, in milliseconds: a week, so that its VMID is not used again at once. */
const keptMs = 7 * 24 * 3600 * 1000;

function old(kubernetes: Kubernetes, pool: string, node: NodeRecord): StaleResource {
  return {
    what: `${node.name} was retired on ${node.since} and its VM is gone`,
    mend: async () => {
      await writeFacts(kubernetes, pool, { forget: [node] });
      return `forgot ${node.name}`;
    },
  };
}

async function readRecords(kubernetes: Kubernetes, { records }: ObservedCluster): Promise<ObservedCluster["records"]> {
  const read = [...records.keys()].map(async (pool) => [pool, await readPoolRecord(kubernetes, pool)] as const);
  return new Map(await Promise.all(read));
}

function recordOf(observed: ObservedCluster, pool: string, name: string): NodeRecord | undefined {
  return observed.records.get(pool)?.nodes.find((node) => node.name === name);
}
