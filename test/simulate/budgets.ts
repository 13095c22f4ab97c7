import type { Cluster } from "./cluster.ts";
import { lookSoon } from "./look.ts";
import type { Stored } from "./objects.ts";
import { isPodReady, type Workload } from "./pods.ts";

/** Delay of the disruption controller after a change, in milliseconds. */
const lookMs = 60;

/** The disruption controller, and how the API server uses its numbers. */
export class Budgets {
  private readonly cluster: Cluster;
  private readonly workloads: readonly Workload[];

  constructor(cluster: Cluster, workloads: readonly Workload[]) {
    this.cluster = cluster;
    this.workloads = workloads;
    const ask = lookSoon(cluster.time, lookMs, () => this.look());
    cluster.objects.onChange(({ collection }) => {
      if (collection === "pods") ask();
    });
    this.look();
  }

  /** Takes one disruption from a budget; false when the budget allows none. */
  grant(pod: Stored): boolean {
    const app = pod.metadata.labels?.app;
    const budget = app === undefined ? undefined : this.cluster.objects.get("poddisruptionbudgets", `load/${app}`);
    if (budget === undefined) return true;
    const { disruptionsAllowed = 0, currentHealthy = 0, desiredHealthy = 0 } = budget.status as Partial<Status>;
    if (!isPodReady(pod) && currentHealthy >= desiredHealthy && desiredHealthy > 0) return true;
    if (disruptionsAllowed <= 0) return false;
    const status = { ...budget.status, disruptionsAllowed: disruptionsAllowed - 1 };
    this.cluster.objects.put("poddisruptionbudgets", { ...budget, status });
    return true;
  }

  private look(): void {
    const { objects } = this.cluster;
    const pods = objects.list("pods");
    for (const { name, replicas, minAvailable } of this.workloads) {
      const own = pods.filter(
        ({ metadata }) => metadata.labels?.app === name && metadata.deletionTimestamp === undefined,
      );
      const currentHealthy = own.filter(isPodReady).length;
      const disruptionsAllowed = Math.max(0, currentHealthy - minAvailable);
      const status: Status = {
        currentHealthy,
        desiredHealthy: minAvailable,
        expectedPods: replicas,
        disruptionsAllowed,
      };
      const before = objects.get("poddisruptionbudgets", `load/${name}`);
      if (before && JSON.stringify(before.status) === JSON.stringify(status)) continue;
      objects.put("poddisruptionbudgets", {
        metadata: { name, namespace: "load" },
        spec: { selector: { matchLabels: { app: name } }, minAvailable },
        status: { ...status },
      });
    }
  }
}

interface Status {
  currentHealthy: number;
  desiredHealthy: number;
  expectedPods: number;
  disruptionsAllowed: number;
}
