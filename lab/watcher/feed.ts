/** Follows the cluster for the watcher. */
import { follow, type Kube } from "../kube.ts";
import { type BudgetObject, budgetFact, type NodeObject, nodeFact, type PodObject, podFact } from "./facts.ts";
import type { Watcher } from "./watcher.ts";

/** Reports every Node, Pod and PodDisruptionBudget to the watcher until `signal` aborts. */
export async function feed(kube: Kube, watcher: Watcher, signal: AbortSignal): Promise<void> {
  await Promise.all([
    kube.watch(
      "/api/v1/nodes",
      follow<NodeObject>(
        (node) => watcher.node(nodeFact(node)),
        (node) => watcher.nodeGone(node.metadata.name),
      ),
      signal,
    ),
    kube.watch(
      "/api/v1/pods",
      follow<PodObject>(
        (pod) => watcher.pod(podFact(pod)),
        (pod, seen) => watcher.podGone(pod.metadata.uid ?? "", seen ? podFact(pod) : undefined),
      ),
      signal,
    ),
    kube.watch(
      "/apis/policy/v1/poddisruptionbudgets",
      follow<BudgetObject>(
        (budget) => watcher.budget(budgetFact(budget)),
        ({ metadata }) => watcher.budgetGone(metadata.namespace ?? "", metadata.name),
      ),
      signal,
    ),
  ]);
}
