import type { Deadline } from "../common/deadline.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict } from "./errors.ts";
import { createOurs } from "./namespace.ts";
import { namespace, paths, type Lease, type ReplicaSet } from "./types.ts";
import { named, until } from "./watch.ts";

const systemLeases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

/** Asks for nothing: it has no replicas. Whether its changes are noticed tells whether the controllers work. */
const name = "controllers-probe";
const path = `${paths.replicaSets}/${name}`;

/**
 * Waits until the controllers of the cluster work: both are asked at once. A lease alone does not tell: that of a dead leader
 * is valid for a while, and meanwhile endpoints still name pods that are gone.
 * @throws DeadlineError
 */
export async function awaitControllers(client: Kubernetes, deadline: Deadline): Promise<void> {
  const generation = await change(client);
  // A client that has had no answer yet takes its own clock for the cluster's.
  const since = client.now().getTime();
  await Promise.all([managerNotices(client, generation, deadline), schedulerRenews(client, since, deadline)]);
}

async function managerNotices(client: Kubernetes, generation: number, deadline: Deadline): Promise<void> {
  await until<ReplicaSet, true>(
    client,
    named(paths.replicaSets, name),
    deadline,
    (seen) =>
      [...seen.values()].some(({ status }) => (status?.observedGeneration ?? 0) >= generation) ? true : undefined,
    () => `kube-controller-manager has not noticed a change of ReplicaSet ${namespace}/${name}`,
  );
}

async function schedulerRenews(client: Kubernetes, since: number, deadline: Deadline): Promise<void> {
  await until<Lease, true>(
    client,
    named(systemLeases, "kube-scheduler"),
    deadline,
    (seen) => ([...seen.values()].some(({ spec }) => Date.parse(spec?.renewTime ?? "") > since) ? true : undefined),
    () => "nobody renews the lease kube-system/kube-scheduler",
  );
}

/** Changes the probe, or makes it. @returns the generation that the controllers have to notice */
async function change(client: Kubernetes): Promise<number> {
  const found = (await client.find<ReplicaSet>(path)) ?? (await created(client));
  if (found === undefined) return await change(client);
  const minReadySeconds = ((found.spec?.minReadySeconds ?? 0) + 1) % 1000;
  const changed = await client.patch<ReplicaSet>(path, "merge", { spec: { minReadySeconds } });
  return changed.metadata?.generation ?? 0;
}

/** @returns undefined when somebody else made it in the same moment */
async function created(client: Kubernetes): Promise<ReplicaSet | undefined> {
  const labels = { "app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "evergreen" };
  try {
    return await createOurs<ReplicaSet>(client, paths.replicaSets, {
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      metadata: { name, labels },
      spec: {
        replicas: 0,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [{ name: "none", image: "none" }] } },
      },
    });
  } catch (error) {
    if (isConflict(error)) return undefined;
    throw error;
  }
}
