import { UserErrors } from "../runtime/errors.ts";
import type { Config } from "../config/config.ts";
import { poolPlans, type ClusterPlan } from "./cluster-plan.ts";
import { paths, type Pod, type PodDisruptionBudget } from "../clients/kubernetes/types.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import { blockers, type Blocker } from "../domain/drain/drain.ts";
import type { PoolPlan } from "../domain/model/types.ts";

/** Longest list of blockers per pool: a large cluster has hundreds of similar pods. */
const most = 10;

/**
 * Adds to the plan, in words, the pods and budgets that will delay the drains of this run's departing nodes, and the
 * pods that will not serve while they move. A node that is not Ready is left out: it may be dead, and then it is not
 * drained.
 * @throws UserErrors with everything that permanently blocks a drain
 */
export async function forecastDrains(
  { timeouts }: Config,
  observed: ObservedCluster,
  clusterPlan: ClusterPlan,
): Promise<ClusterPlan> {
  const { kubernetes } = observed;
  const serving = new Set(observed.nodes.filter(({ ready }) => ready).map(({ name }) => name));
  const drained = ({ slots, leaving }: PoolPlan) =>
    new Set([...slots.flatMap(({ replaces }) => replaces), ...leaving].filter((name) => serving.has(name)));
  if (kubernetes === undefined || poolPlans(clusterPlan).every((plan) => drained(plan).size === 0)) return clusterPlan;
  const [pods, budgets] = await Promise.all([
    kubernetes.list<Pod>(paths.pods),
    kubernetes.list<PodDisruptionBudget>(paths.budgets),
  ]);
  const never: Blocker[] = [];
  const forPool = (plan: PoolPlan): PoolPlan => {
    const found = blockers(pods.items, budgets.items, drained(plan), timeouts.drainSeconds);
    never.push(...found.filter(({ kind }) => kind === "never"));
    return { ...plan, words: [...plan.words, ...wordsOf(found)] };
  };
  const planned = {
    controlPlane: forPool(clusterPlan.controlPlane),
    pools: clusterPlan.pools.map(forPool),
    removed: clusterPlan.removed.map(forPool),
  };
  const once = new Map(never.map((one) => [one.what, one]));
  if (once.size > 0) throw new UserErrors([...once.values()]);
  return planned;
}

function wordsOf(found: readonly Blocker[]): string[] {
  const more = found.length - most;
  return [
    ...found.slice(0, most).map(({ what, where }) => `  ${what} (${where})`),
    ...(more > 0 ? [`  ... and ${more} more`] : []),
  ];
}
