import { problemText } from "../../domain/model/problem.ts";
import { UserErrors } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { paths, type Pod, type PodDisruptionBudget } from "../../clients/kubernetes/types.ts";
import { blockers } from "../../domain/drain/drain.ts";

/** Something never lets a node be drained, however long the wait. Nothing was changed, and no node is judged. */
export class DrainRefusal extends UserErrors {}

/**
 * Reports by name what will delay the drain of nodes, or will not serve during it, before anything is disturbed.
 * @throws DrainRefusal with everything that makes a drain impossible
 */
export async function requireMayDrain(
  client: Kubernetes,
  nodes: ReadonlySet<string>,
  drainSeconds: number,
): Promise<void> {
  if (nodes.size === 0) return;
  const [pods, budgets] = await Promise.all([
    client.list<Pod>(paths.pods),
    client.list<PodDisruptionBudget>(paths.budgets),
  ]);
  const found = blockers(pods.items, budgets.items, nodes, drainSeconds);
  const never = found.filter(({ kind }) => kind === "never");
  if (never.length > 0) throw new DrainRefusal(never);
  for (const problem of found) say(problemText(problem));
}
