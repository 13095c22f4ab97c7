import type { Problem } from "../../runtime/errors.ts";
import { titleOf } from "../../domain/model/titles.ts";
import type { Kubernetes } from "./client.ts";
import { isNotFound } from "./errors.ts";
import type { Resource } from "./types.ts";

/*
 * Other programs that upgrade or restart nodes. Two at once drain each other's nodes (Rancher upgrades the clusters
 * that it manages: rancher#47233, #46246; kube-hetzner#1497).
 */

interface Plan extends Resource {
  spec?: { channel?: string };
  status?: { applying?: string[] };
}

/** Plans of system-upgrade-controller. */
const plans = "/apis/upgrade.cattle.io/v1/plans";
const daemonSets = "/apis/apps/v1/daemonsets";
const rancherAgent = "/apis/apps/v1/namespaces/cattle-system/deployments/cattle-cluster-agent";
/** Plans with which Rancher manages the versions of an imported cluster. */
const ofRancher = /^cattle-system\/(rke2|k3s)-(master|worker)-plan$/;
/** In this annotation kured records which node it holds for a restart. */
const kuredLock = "weave.works/kured-node-lock";

/**
 * Finds other programs that work on the nodes, or may begin at any moment, and names each.
 * @param allowRancher the operator confirms that Rancher does not change the versions of this cluster
 * @throws KubernetesError when one cannot be read: an unreadable answer does not prove that there is none
 */
export async function findOtherUpgraders(client: Kubernetes, allowRancher = false): Promise<Problem[]> {
  const found = await Promise.all([
    findUpgradePlans(client),
    findRestarts(client),
    ...(allowRancher ? [] : [findRancher(client)]),
  ]);
  return found.flat();
}

async function findUpgradePlans(client: Kubernetes): Promise<Problem[]> {
  const items = await client.list<Plan>(plans).then(
    (list) => list.items,
    (error: unknown) => {
      // Without this resource type there is no system-upgrade-controller.
      if (isNotFound(error)) return [];
      throw error;
    },
  );
  return items.flatMap(({ metadata, spec, status }) => {
    const title = titleOf({ metadata });
    const where = `Plan ${title}`;
    const applying = status?.applying ?? [];
    if (applying.length > 0)
      return [
        {
          what: `system-upgrade-controller is at work on ${applying.join(", ")}`,
          where,
          todo: "wait until the plan is complete, then run again",
        },
      ];
    if (ofRancher.test(title))
      return [
        {
          what: "Rancher's version management is on for this cluster, and upgrades its nodes",
          where,
          todo: "turn version management off for it in Rancher, and delete the plan if it stays",
        },
      ];
    if (spec?.channel === undefined) return [];
    return [
      {
        what: `system-upgrade-controller follows the channel ${spec.channel} and may begin at any moment`,
        where,
        todo: "pin its version, or delete the plan: one of us upgrades these nodes",
      },
    ];
  });
}

async function findRestarts(client: Kubernetes): Promise<Problem[]> {
  const { items } = await client.list<Resource>(daemonSets);
  return items.flatMap(({ metadata }) => {
    const lock = metadata?.annotations?.[kuredLock];
    if (lock === undefined) return [];
    return [
      {
        what: `kured holds a node for a restart: ${nodeIn(lock)}`,
        where: `DaemonSet ${titleOf({ metadata })}, ${kuredLock}`,
        todo: "wait until the node is back; a lock that kured forgot is removed with its annotation",
      },
    ];
  });
}

function nodeIn(lock: string): string {
  try {
    const { nodeID } = JSON.parse(lock) as { nodeID?: unknown };
    if (typeof nodeID === "string") return nodeID;
  } catch {
    // Shown unparsed.
  }
  return lock.slice(0, 100);
}

async function findRancher(client: Kubernetes): Promise<Problem[]> {
  if ((await client.find(rancherAgent)) === undefined) return [];
  return [
    {
      what: "Rancher manages this cluster and upgrades its nodes itself",
      where: "Deployment cattle-system/cattle-cluster-agent",
      todo: "let Rancher upgrade it, or take the cluster out of Rancher; one that was only imported, with version management off in Rancher, may be updated with evergreen:allowRancher",
    },
  ];
}
