import { affinityNodeOf, type DataPicture } from "../clients/kubernetes/local-data.ts";
import { labelsOf, nameOf, uuidOf } from "../clients/kubernetes/nodes.ts";
import type { Node } from "../clients/kubernetes/types.ts";
import type { Config } from "../config/config.ts";
import { handGivenLabels } from "../domain/drain/by-hand.ts";
import { isPlace } from "../domain/drain/local-data.ts";
import { lastingTaints, taintOf } from "../domain/drain/taints.ts";
import type { NodeChange, PlacedNode } from "../domain/drain/zonal-volumes.ts";
import { HOST_NAME, labelsByHost, topologyLabels, ZONE } from "../domain/model/labels.ts";
import type { PoolPlan, SlotPlan } from "../domain/model/types.ts";
import type { Places } from "../observe/hosts.ts";
import { hostOf, type ObservedCluster } from "../observe/observed-cluster.ts";
import { hostsByUuid } from "../observe/topology.ts";
import { poolPlans, type ClusterPlan } from "./cluster-plan.ts";

/** What the labels of nodes after a run follow from. */
export interface NodeChangeInput {
  config: Pick<Config, "cluster" | "site">;
  observed: ObservedCluster;
  clusterPlan: ClusterPlan;
  places: Places;
  data: Pick<DataPicture, "nodes">;
  departing: ReadonlySet<string>;
}

/**
 * The nodes that there are now and after the run. Nodes that stay get the labels of the Proxmox host that they are on
 * now. What comes has the labels of its pool and of its chosen host, and such that all nodes on that host have by now and
 * nobody gave by hand; a cloud controller or a driver may give it more.
 */
export function nodeChange(input: NodeChangeInput): NodeChange {
  const { config, observed, clusterPlan, data, departing } = input;
  const hosts = hostsByUuid(observed.vms);
  const stay = data.nodes
    .filter((node) => !departing.has(nameOf(node)))
    .map((node) => {
      const placed = placedNodeOf(node);
      return { ...placed, labels: { ...placed.labels, ...topologyLabels(config.site, hosts.get(uuidOf(node))) } };
    });
  const come = poolPlans(clusterPlan).flatMap((plan) =>
    plan.slots
      .filter(({ name }) => !stay.some((one) => one.name === name))
      .map((slot) => comingNode(input, plan, slot, hosts)),
  );
  return { before: data.nodes.map(placedNodeOf), after: [...stay, ...come] };
}

function placedNodeOf(node: Node): PlacedNode {
  return { ...affinityNodeOf(node), taints: lastingTaints(node.spec?.taints) };
}

function comingNode(
  { config: { cluster, site }, observed, clusterPlan, places, data }: NodeChangeInput,
  { pool }: PoolPlan,
  { name, slot, generation: { id: generation, spec } }: SlotPlan,
  hosts: ReadonlyMap<string, string>,
): PlacedNode {
  const host = hostOf(observed, name) ?? places.get(name);
  const byHost = labelsByHost(site);
  const own = topologyLabels(site, host);
  const given = [...byHost, ...poolPlans(clusterPlan).flatMap(({ wanted }) => Object.keys(wanted?.spec.labels ?? {}))];
  const beside = data.nodes.filter((node) => host !== undefined && hosts.get(uuidOf(node)) === host);
  return {
    name,
    labels: {
      ...sharedLabels(beside, given),
      ...own,
      ...spec.labels,
      ...labelsOf({ cluster, pool, slot, generation }),
      [HOST_NAME]: name,
    },
    taints: lastingTaints(spec.taints?.map(taintOf)),
    mayHaveMore: true,
    lacks: host !== undefined && byHost.includes(ZONE) && own[ZONE] === undefined ? [ZONE] : [],
  };
}

/**
 * Labels that all nodes on a Proxmox host have with one value, and that another node there gets too. One that only one
 * node has may be its own, unless it states a location.
 * @param given labels that the configuration gives, which say nothing of a node of another pool
 */
function sharedLabels(nodes: readonly Node[], given: readonly string[]): Record<string, string> {
  const [first, ...others] = nodes;
  const byHand = new Set(nodes.flatMap(handGivenLabels));
  const isShared = ([key, value]: [string, string]) =>
    others.every((node) => node.metadata?.labels?.[key] === value) &&
    (others.length > 0 || isPlace(key)) &&
    !given.includes(key) &&
    !byHand.has(key);
  return Object.fromEntries(Object.entries(first?.metadata?.labels ?? {}).filter(isShared));
}
