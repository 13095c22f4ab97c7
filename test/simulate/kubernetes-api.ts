import type { Cluster } from "./cluster.ts";
import { status } from "./fault-kinds.ts";
import { keyOf, merged, strategic, textOf, type Draft, type Matcher, type Stored } from "./objects.ts";
import type { Answer, Call } from "./wire.ts";

interface Target {
  collection: string;
  namespace: string | undefined;
  name: string | undefined;
  sub: string | undefined;
}

const form =
  /^\/(?:api\/v1|apis\/(?:coordination\.k8s\.io|policy|storage\.k8s\.io|apps|k3s\.cattle\.io)\/v1)(?:\/namespaces\/([^/]+)(?=\/))?\/([a-z]+)(?:\/([^/]+))?(?:\/([a-z]+))?$/;
/** Kinds whose objects have no namespace. */
const clusterWide = new Set(["nodes", "namespaces", "persistentvolumes", "volumeattachments", "etcdsnapshotfiles"]);

/** The API server: applies requests to the objects, with preconditions, versions and refusals as in Kubernetes. */
export class KubernetesApi {
  private readonly cluster: Cluster;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  answer(call: Call): Answer {
    if (call.path === "/readyz") return this.cluster.control.isReady();
    const [, namespace, collection = "", name, sub] = form.exec(call.path) ?? [];
    const target: Target = { collection, namespace, name, sub };
    if (collection === "") return status(404, "NotFound", `the server could not find ${call.path}`);
    if (sub === "eviction") return this.evict(target, call);
    if (name === undefined) return this.ofCollection(target, call);
    return this.ofObject(target, keyIn(target), call);
  }

  private ofCollection(target: Target, call: Call): Answer {
    const { objects } = this.cluster;
    if (call.method === "POST") return this.create(target, JSON.parse(call.body) as Draft, call);
    const matches = matcher(target, call.query);
    if (target.collection === "leases" && target.namespace === "kube-system") this.cluster.control.renew();
    if (call.query.get("watch") === "true") {
      const from = Number(call.query.get("resourceVersion"));
      const seconds = Number(call.query.get("timeoutSeconds") ?? 60);
      return {
        status: 200,
        stream: (out) => {
          const stop = objects.watch(target.collection, matches, from, out);
          const end = this.cluster.time.after(seconds * 1000, () => out.end());
          const leave = this.cluster.control.hold(out);
          return () => {
            stop();
            leave();
            end();
          };
        },
      };
    }
    const items = objects.list(target.collection).filter(matches).map(textOf);
    return { status: 200, body: `{"metadata":{"resourceVersion":"${objects.version}"},"items":[${items.join(",")}]}` };
  }

  private create(target: Target, draft: Draft, call: Call): Answer {
    const { objects } = this.cluster;
    const { collection, namespace } = target;
    if (namespace !== undefined && objects.get("namespaces", namespace) === undefined)
      return status(404, "NotFound", `namespaces "${namespace}" not found`);
    const metadata = { ...draft.metadata, ...(namespace === undefined ? {} : { namespace }) };
    if (objects.get(collection, keyOf({ metadata })) !== undefined)
      return status(409, "AlreadyExists", `${collection} "${metadata.name}" already exists`);
    this.cluster.watcher.changes(collection, call.process);
    if (collection === "configmaps") this.cluster.watcher.remembered(metadata.name, call.process);
    const { stringData, ...rest } = draft as Draft & { stringData?: Record<string, string> };
    const data = stringData && {
      data: Object.fromEntries(
        Object.entries(stringData).map(([key, value]) => [key, Buffer.from(value).toString("base64")]),
      ),
    };
    return stored(objects.put(collection, versioned(collection, { ...rest, ...data, metadata }, undefined)), 201);
  }

  private ofObject(target: Target, key: string, call: Call): Answer {
    const { objects } = this.cluster;
    const { collection, name = "" } = target;
    const found = objects.get(collection, key);
    if (found === undefined) return status(404, "NotFound", `${collection} "${name}" not found`);
    if (call.method === "GET") return stored(found);
    this.cluster.watcher.changes(collection, call.process);
    const body = (call.body === "" ? {} : JSON.parse(call.body)) as Draft & { preconditions?: Record<string, string> };
    if (call.method === "DELETE") return this.remove(target, key, found, body.preconditions ?? {}, call);
    const version = (body.metadata as Partial<Stored["metadata"]> | undefined)?.resourceVersion;
    if (version !== undefined && version !== found.metadata.resourceVersion)
      return status(409, "Conflict", `the object ${name} has been modified`);
    const next =
      call.method === "PUT"
        ? { ...body, metadata: { ...found.metadata, ...body.metadata } }
        : patched(found, body, call.type);
    if (collection === "nodes") this.cluster.watcher.nodeChanges(found, next as Stored, call.process);
    if (collection === "configmaps") this.cluster.watcher.remembered(name, call.process);
    return stored(objects.put(collection, versioned(collection, next as Draft, found)));
  }

  private remove(
    { collection, name = "" }: Target,
    key: string,
    found: Stored,
    only: Record<string, string>,
    call: Call,
  ): Answer {
    if (Object.entries(only).some(([field, value]) => found.metadata[field] !== value))
      return status(409, "Conflict", `the precondition of ${name} does not hold`);
    if (collection === "pods") this.cluster.watcher.podDeleted(found, call.process);
    if (collection === "nodes") this.cluster.watcher.nodeDeleted(found, call.process);
    this.cluster.objects.remove(collection, key);
    return ok({ kind: "Status", status: "Success" });
  }

  private evict(target: Target, call: Call): Answer {
    const key = keyIn(target);
    const { refusesEvictions } = this.cluster;
    if (refusesEvictions) return refusesEvictions;
    const pod = this.cluster.objects.get("pods", key);
    if (pod === undefined) return status(404, "NotFound", `pods "${key}" not found`);
    const body = JSON.parse(call.body) as { deleteOptions?: { preconditions?: { uid?: string } } };
    const uid = body.deleteOptions?.preconditions?.uid;
    if (uid !== undefined && uid !== pod.metadata.uid) return status(409, "Conflict", `the uid of ${key} is another`);
    if (pod.metadata.deletionTimestamp !== undefined) return ok({ kind: "Status", status: "Success" }, 201);
    if (!this.cluster.budgets.grant(pod))
      return status(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        "DisruptionBudget",
      );
    this.cluster.watcher.evicted(pod, call.process);
    this.cluster.pods.terminate(pod);
    return ok({ kind: "Status", status: "Success" }, 201);
  }
}

function stored(object: Stored, code = 200): Answer {
  return { status: code, body: textOf(object) };
}

function ok(object: object, code = 200): Answer {
  return { status: code, body: JSON.stringify(object) };
}

/** A change of the spec is a new `metadata.generation`: controllers report which one they have observed. */
function versioned(collection: string, next: Draft, before: Stored | undefined): Draft {
  if (collection !== "replicasets") return next;
  const was = Number(before?.metadata.generation ?? 0);
  const generation = JSON.stringify(next.spec) === JSON.stringify(before?.spec) ? was : was + 1;
  return { ...next, metadata: { ...next.metadata, generation } };
}

function keyIn({ collection, namespace, name = "" }: Target): string {
  return clusterWide.has(collection) || namespace === undefined ? name : `${namespace}/${name}`;
}

function patched(found: Stored, body: object, type: string): unknown {
  return type.startsWith("application/strategic")
    ? strategic(found, body as Record<string, unknown>)
    : merged(found, body);
}

function matcher({ namespace }: Target, query: URLSearchParams): Matcher {
  const labels = pairs(query.get("labelSelector"));
  const fields = pairs(query.get("fieldSelector"));
  return (object) =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    labels.every(([key, value]) => holds(object.metadata.labels?.[key], value)) &&
    fields.every(([key, value]) => fieldOf(object, key) === value);
}

/** @param wanted undefined: any */
function holds(label: string | undefined, wanted: string | undefined): boolean {
  return wanted === undefined ? label !== undefined : label === wanted;
}

function pairs(selector: string | null): [string, string | undefined][] {
  return (selector ?? "")
    .split(",")
    .filter(Boolean)
    .map((one) => {
      const [key = "", value] = one.split("=");
      return [key, value];
    });
}

function fieldOf(object: Stored, field: string): unknown {
  if (field === "metadata.name") return object.metadata.name;
  if (field === "involvedObject.name") return (object.involvedObject as { name: string } | undefined)?.name;
  return field === "spec.nodeName" ? (object.spec?.nodeName ?? "") : undefined;
}
