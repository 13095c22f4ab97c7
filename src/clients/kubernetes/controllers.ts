import type { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict, KubernetesError } from "./errors.ts";
import { createOurs } from "./namespace.ts";
import { paths, type Lease, type ReplicaSet } from "./types.ts";
import { named, waitUntil } from "./watch.ts";
import { namespace } from "../../domain/model/formats.ts";

const systemLeases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

/**
 * A ReplicaSet without replicas: it creates nothing. Whether its changes are observed shows whether the controllers
 * work.
 */
const name = "controllers-probe";
const path = `${paths.replicaSets}/${name}`;
const labels = { "app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "evergreen" };

/**
 * No pod is made from it, but policies check it: it satisfies Pod Security's `restricted` and common other policies.
 */
const template = {
  metadata: { labels },
  spec: {
    automountServiceAccountToken: false,
    securityContext: { runAsNonRoot: true, runAsUser: 65_534, seccompProfile: { type: "RuntimeDefault" } },
    containers: [
      {
        name: "none",
        image: "registry.k8s.io/pause:3.10",
        resources: { requests: { cpu: "1m", memory: "1Mi" }, limits: { cpu: "1m", memory: "1Mi" } },
        securityContext: {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ["ALL"] },
          privileged: false,
          readOnlyRootFilesystem: true,
        },
      },
    ],
  },
};

/**
 * Waits until kube-controller-manager and kube-scheduler work; both are checked at the same time. A lease alone proves
 * nothing: the lease of a dead leader stays valid for a while, and meanwhile endpoints still name pods that are gone.
 * @throws DeadlineError
 */
export async function awaitControllers(client: Kubernetes, deadline: Deadline): Promise<void> {
  const generation = await change(client);
  // A client that has had no answer yet takes its own clock for the cluster's.
  const since = client.now().getTime();
  await Promise.all([awaitManager(client, generation, deadline), awaitScheduler(client, since, deadline)]);
}

async function awaitManager(client: Kubernetes, generation: number, deadline: Deadline): Promise<void> {
  await waitUntil<ReplicaSet, true>(
    client,
    named(paths.replicaSets, name),
    deadline,
    (seen) =>
      [...seen.values()].some(({ status }) => (status?.observedGeneration ?? 0) >= generation) ? true : undefined,
    () => `kube-controller-manager has not noticed a change of ReplicaSet ${namespace}/${name}`,
  );
}

async function awaitScheduler(client: Kubernetes, since: number, deadline: Deadline): Promise<void> {
  await waitUntil<Lease, true>(
    client,
    named(systemLeases, "kube-scheduler"),
    deadline,
    (seen) => ([...seen.values()].some(({ spec }) => Date.parse(spec?.renewTime ?? "") > since) ? true : undefined),
    () => "nobody renews the lease kube-system/kube-scheduler",
  );
}

/** Changes the probe, or creates it. @returns the generation that the controllers have to observe */
async function change(client: Kubernetes): Promise<number> {
  const found = (await client.find<ReplicaSet>(path)) ?? (await createReplicaSet(client));
  if (found === undefined) return await change(client);
  const minReadySeconds = ((found.spec?.minReadySeconds ?? 0) + 1) % 1000;
  // The whole template: a policy may now refuse the template that an earlier release wrote.
  const spec = { minReadySeconds, template };
  const changed = await client.patch<ReplicaSet>(path, "merge", { spec }).catch(refusedByPolicy);
  return changed.metadata?.generation ?? 0;
}

/** @returns undefined when another process created the object at the same moment */
async function createReplicaSet(client: Kubernetes): Promise<ReplicaSet | undefined> {
  try {
    return await createOurs<ReplicaSet>(client, paths.replicaSets, {
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      metadata: { name, labels },
      spec: { replicas: 0, selector: { matchLabels: labels }, template },
    });
  } catch (error) {
    if (isConflict(error)) return undefined;
    return refusedByPolicy(error);
  }
}

/** @throws UserError in place of a refusal by admission: a webhook, a policy, Pod Security, a quota */
function refusedByPolicy(error: unknown): never {
  if (!(error instanceof KubernetesError) || ![400, 403, 422].includes(error.status)) throw error;
  throw new UserError(
    {
      what: `an admission policy refuses the ReplicaSet by which the controllers of the cluster are watched: ${error.message}`,
      where: `ReplicaSet ${namespace}/${name}`,
      todo: `exempt the namespace ${namespace} from the policy that the message names; no pod is ever made there: the ReplicaSet has no replicas`,
    },
    { cause: error },
  );
}
