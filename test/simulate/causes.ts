/** What happens to nodes, pods and APIs while an update of a stage runs: causes of its failure. */
import { status } from "./fault-kinds.ts";
import type { Stage } from "./stage.ts";
import { arriving } from "./verdict-case.ts";
import type { Answer, Call } from "./wire.ts";

export function setReady({ world }: Stage, name: string, ready: string): void {
  const { objects } = world.cluster;
  const node = objects.get("nodes", name);
  const lastTransitionTime = new Date(world.time.date() + world.cluster.aheadMs).toISOString();
  if (node)
    objects.put("nodes", {
      ...node,
      status: { ...node.status, conditions: [{ type: "Ready", status: ready, reason: "Test", lastTransitionTime }] },
    });
}

export function addCondition({ world }: Stage, name: string, condition: { type: string; status: string }): void {
  const { objects } = world.cluster;
  const node = objects.get("nodes", name);
  const conditions = [...((node?.status?.conditions ?? []) as object[]), condition];
  if (node) objects.put("nodes", { ...node, status: { ...node.status, conditions } });
}

/** The pod of a daemon on a node is of this version of its DaemonSet; the new one does not work. */
export function setVersion({ world }: Stage, node: string, version: "old" | "new"): void {
  const { objects } = world.cluster;
  const pod = objects.get("pods", `kube-system/kube-proxy-${node}`);
  if (pod === undefined) return;
  const labels = { ...pod.metadata.labels, "controller-revision-hash": version };
  const status = version === "old" ? pod.status : { ...pod.status, conditions: [{ type: "Ready", status: "False" }] };
  objects.put("pods", { ...pod, metadata: { ...pod.metadata, labels }, status: status ?? {} });
}

/** A daemon of these nodes restarts once more. */
export function restart({ world }: Stage, nodes: readonly string[], daemon = "kube-proxy"): void {
  const { objects } = world.cluster;
  for (const node of nodes) {
    const pod = objects.get("pods", `kube-system/${daemon}-${node}`);
    if (pod) objects.put("pods", { ...pod, status: { ...pod.status, containerStatuses: [{ restartCount: 1 }] } });
  }
}

/** A DaemonSet that is Ready on no node, with a pod on the node that arrives. */
export async function deployBroken(stage: Stage): Promise<void> {
  const { objects } = stage.world.cluster;
  const [name, namespace] = ["broken", "kube-system"];
  objects.put("daemonsets", { metadata: { name, namespace }, status: { numberReady: 0, currentNumberScheduled: 3 } });
  const { name: nodeName } = await arriving(stage, "registered");
  const uid = objects.get("daemonsets", `${namespace}/${name}`)?.metadata.uid;
  const ownerReferences = [{ kind: "DaemonSet", name, uid, controller: true }];
  objects.put("pods", {
    metadata: { name: `${name}-${nodeName}`, namespace, ownerReferences },
    spec: { nodeName },
    status: {
      phase: "Running",
      conditions: [{ type: "Ready", status: "False" }],
      containerStatuses: [{ restartCount: 0 }],
    },
  });
}

/** Waits until the new node is in its soak, while every watch of the verify step is refused. */
export async function soakingUnwatched(stage: Stage): Promise<{ name: string }> {
  stage.world.believes = ({ process, query }) =>
    process.name.startsWith("verify-demo-workers") && query.get("watch") === "true"
      ? status(429, "TooManyRequests", "the server has received too many requests")
      : undefined;
  const arrived = await arriving(stage, "soaking");
  await stage.world.time.sleep(5_000);
  return arrived;
}

export function refuseEvictions({ world }: Pick<Stage, "world">, refusal: Answer): void {
  world.defect = (call: Call) => (call.path.endsWith("/eviction") ? refusal : world.honest(call));
}

/** The API does not answer. @returns a function that ends this */
export function away({ world }: Stage): () => void {
  world.believes = (call) =>
    call.api === "kube" ? status(503, "ServiceUnavailable", "the server is currently unable") : undefined;
  return () => (world.believes = () => undefined);
}

/** Another process holds the lease and keeps renewing it. */
export function holdLease({ cluster, time }: Stage["world"], name: string): void {
  const renew = () => {
    const renewTime = new Date(time.date() + cluster.aheadMs).toISOString().replace("Z", "000Z");
    cluster.objects.put("leases", {
      metadata: { name, namespace: "evergreen-system" },
      spec: { holderIdentity: "somebody", leaseDurationSeconds: 15, renewTime },
    });
    time.after(5000, renew);
  };
  renew();
}

/** A backup or a snapshot freezes the file systems of a guest when its agent gets this command. */
export function freeze({ world }: Pick<Stage, "world">, vmid: number, ms: number, command: string): void {
  let isOver = false;
  world.defect = (call: Call) => {
    const guest = world.dc.vms.get(vmid)?.guest;
    if (!isOver && guest?.agentUp === true && call.path.endsWith(`/${vmid}/agent/${command}`)) {
      isOver = true;
      guest.frozen = true;
      world.time.after(ms, () => (guest.frozen = false));
    }
    return world.honest(call);
  };
}

/** The containers of a daemon are not made on the node that arrives, and the kubelet says this of it. */
export async function holdDaemon(stage: Stage, event?: { type: string; reason: string }): Promise<void> {
  const { objects } = stage.world.cluster;
  const { name } = await arriving(stage, "registered");
  const containerStatuses = [{ restartCount: 0, state: { waiting: { reason: "ContainerCreating" } } }];
  const status = { phase: "Pending", conditions: [], containerStatuses };
  const isHeld = ({ metadata }: { metadata: { name: string } }) => metadata.name === `rke2-canal-${name}`;
  const put = objects.put.bind(objects);
  objects.put = (collection, object) =>
    put(collection, collection === "pods" && isHeld(object) ? { ...object, status } : object);
  for (const pod of objects.list("pods").filter(isHeld)) {
    objects.put("pods", pod);
    const { namespace = "", uid } = pod.metadata;
    const involvedObject = { kind: "Pod", namespace, name: pod.metadata.name, uid };
    if (event) put("events", { metadata: { name: "held", namespace }, involvedObject, ...event });
  }
}
