import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { findNode } from "../../src/clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { isPodReady } from "../../src/clients/kubernetes/pods.ts";
import { paths, type Node, type Pod, type Resource } from "../../src/clients/kubernetes/types.ts";
import { named, waitUntil } from "../../src/clients/kubernetes/watch.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import type { Generation } from "../../src/domain/model/types.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { rollout } from "../../src/steps/verbs/rollout.ts";
import { retire } from "../../src/steps/verbs/retire.ts";
import { awaitUntainted } from "../../src/steps/node/serving.ts";
import { blue, green, StepCluster, third } from "./cluster.ts";

type Quota = Resource & { status?: { hard?: Record<string, string> } };

const role = "node-role.kubernetes.io/worker";
const startup = "node.cilium.io/agent-not-ready";
const labelled: Generation = { ...blue, spec: { ...blue.spec, labels: { tier: "web", [role]: "" } } };
/** Time that only passes when something is wrong. */
const quick = ({ site: { timeouts } }: StepCluster) => ({ ...timeouts, gate: 3 });
const tainted: Generation = { ...green, spec: { ...green.spec, startupTaints: [`${startup}:NoExecute`] } };

describe("a node serves when pods can live on it", function () {
  this.timeout(180_000);
  let cluster: StepCluster;
  let client: Kubernetes;

  before(async () => {
    cluster = await StepCluster.start("127.89");
    client = await cluster.found();
    await rollout(cluster.run(), cluster.pool("workers", 1, labelled));
    const input = cluster.slot("workers", 0, labelled);
    await cluster.clone(input);
    await join(cluster.run(), input);
    await handover(cluster.run(), input);
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });

  const old = () => cluster.slot("workers", 0, labelled);
  const labelsOf = async (name: string) => (await findNode(client, name))?.metadata?.labels ?? {};
  const patch = (name: string, body: object) => client.patch(`${paths.nodes}/${name}`, "merge", body);
  const appears = (name: string) =>
    waitUntil<Node, true>(
      client,
      named(paths.nodes, name),
      new Deadline(name, 60),
      (seen) => seen.size > 0 || undefined,
    );

  it("has the role label, which its kubelet may not give itself", async () => {
    const { [role]: worker, tier } = await labelsOf(old().node);
    assert.deepEqual([worker, tier], ["", "web"]);
  });

  it("gets a label back that was changed by hand, and keeps its slot", async () => {
    await patch(old().node, { metadata: { labels: { tier: "db", theirs: "1" } } });
    await join(cluster.run(), old());
    const { tier, theirs } = await labelsOf(old().node);
    assert.deepEqual([tier, theirs], ["web", "1"]);
    const { nodes, generations } = await readPoolRecord(client, "workers");
    assert.deepEqual(
      nodes.map(({ phase }) => phase),
      ["handedOver"],
    );
    assert.ok(generations.every(({ state }) => state !== "failed"));
  });

  it("does not serve before each DaemonSet that belongs there has a pod on it, and is not judged for one that has none", async () => {
    await daemonWithoutRoom("agent");
    const generation: Generation = { ...third, spec: { ...third.spec, taints: ["dedicated=web:NoSchedule"] } };
    await rollout(cluster.run(), cluster.pool("workers", 1, generation));
    const input = cluster.slot("workers", 0, generation);
    await cluster.clone(input);
    const hasty = { ...input, site: { ...cluster.site, timeouts: { ...cluster.site.timeouts, join: 6 } } };
    await assert.rejects(join(cluster.run(), hasty), /DaemonSet guarded\/agent has no pod on it/);
    const { generations } = await readPoolRecord(client, "workers");
    assert.ok(generations.every(({ state }) => state !== "failed"));
    await client.delete("/api/v1/namespaces/guarded/resourcequotas/none");
    // The controller tries again ever more seldom.
    const patient = { ...input, site: { ...cluster.site, timeouts: { ...cluster.site.timeouts, join: 60 } } };
    await join(cluster.run(), patient);
    await retire(cluster.run(), input);
    await cluster.operator.destroyVm(input.vmid);
  });

  it("does not serve before its startup taint is removed", async () => {
    await rollout(cluster.run(), cluster.pool("workers", 1, tainted));
    const input = cluster.slot("workers", 0, tainted);
    await cluster.clone(input);
    let over = false;
    const joined = join(cluster.run(), input).finally(() => (over = true));
    await appears(input.node);
    await waitUntil<Node, true>(client, named(paths.nodes, input.node), new Deadline("Ready", 60), (seen) =>
      [...seen.values()][0]?.status?.conditions?.some((one) => one.type === "Ready" && one.status === "True")
        ? true
        : undefined,
    );
    assert.equal(over, false);
    const taints = (await findNode(client, input.node))?.spec?.taints ?? [];
    await patch(input.node, { spec: { taints: taints.filter(({ key }) => key !== startup) } });
    await joined;
  });

  const others = [
    ["a taint", { taints: [{ key: "maintenance", effect: "NoExecute" }] }, { taints: [] }, /maintenance:NoExecute/],
    ["a cordon", { unschedulable: true }, { unschedulable: null, taints: [] }, /cordoned, and not by us/],
  ] as const;
  for (const [what, spec, undo, says] of others)
    it(`keeps its predecessor, and its image is not judged, when somebody gives it ${what}`, async () => {
      const input = cluster.slot("workers", 0, tainted);
      await patch(input.node, { spec });
      await assert.rejects(handover(cluster.run(), input), says);
      assert.equal((await findNode(client, old().node))?.spec?.unschedulable ?? false, false);
      const { generations } = await readPoolRecord(client, "workers");
      assert.ok(generations.every(({ state }) => state !== "failed"));
      await patch(input.node, { spec: undo });
    });

  it("waits for the taint of a node that was not Ready, which its controllers take off by themselves", async () => {
    const input = { ...cluster.slot("workers", 0, tainted), site: { ...cluster.site, timeouts: quick(cluster) } };
    await patch(input.node, { spec: { taints: [{ key: "node.kubernetes.io/not-ready", effect: "NoExecute" }] } });
    const view = await awaitUntainted(cluster.run(), input, client);
    assert.deepEqual(view.node?.spec?.taints ?? [], []);
  });

  it("holds its slot back when what was evicted finds no place, also in the next run", async () => {
    const input = { ...cluster.slot("workers", 0, tainted), site: { ...cluster.site, timeouts: quick(cluster) } };
    // A label that was given by hand is gone with the node (kubernetes#18307).
    await patch(old().node, { metadata: { labels: { "by-hand": "1" } } });
    await run("pinned", { "by-hand": "1" });
    const held = () => assert.rejects(handover(cluster.run(), input), /have found no place.*default\/pinned-/);
    await held();
    await held();
    const { nodes, generations } = await readPoolRecord(client, "workers");
    assert.equal(nodes.find(({ name }) => name === input.node)?.phase, "joined");
    assert.ok(generations.every(({ state }) => state !== "failed"));
  });

  it("takes the slot over once nothing keeps pods away", async () => {
    const input = cluster.slot("workers", 0, tainted);
    await patch(input.node, { metadata: { labels: { "by-hand": "1" } } });
    await handover(cluster.run(), input);
    assert.equal(await findNode(client, old().node), undefined);
    const own = (await readPoolRecord(client, "workers")).nodes.find(({ name }) => name === input.node);
    assert.deepEqual([own?.phase, own?.displaced], ["handedOver", undefined]);
  });

  /** A DaemonSet that tolerates everything, in a namespace whose quota allows no pod. */
  async function daemonWithoutRoom(name: string): Promise<void> {
    await client.create("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name: "guarded" } });
    const quotas = "/api/v1/namespaces/guarded/resourcequotas";
    const quota = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name: "none" },
      spec: { hard: { pods: "0" } },
    };
    await client.create(quotas, quota);
    await waitUntil<Quota, true>(client, { path: quotas }, new Deadline("the quota", 60), (seen) =>
      [...seen.values()].some(({ status }) => status?.hard?.pods === "0") ? true : undefined,
    );
    const labels = { app: name };
    const tolerations = [{ operator: "Exists" }];
    const template = { metadata: { labels }, spec: { tolerations, containers: [{ name, image: name }] } };
    await client.create("/apis/apps/v1/namespaces/guarded/daemonsets", {
      apiVersion: "apps/v1",
      kind: "DaemonSet",
      metadata: { name },
      spec: { selector: { matchLabels: labels }, template },
    });
  }

  /** Runs one pod of a ReplicaSet, and waits until it is Ready. */
  async function run(name: string, nodeSelector: Record<string, string>): Promise<void> {
    const containers = [{ name: "app", image: "app" }];
    const labels = { app: name };
    await client.create("/apis/apps/v1/namespaces/default/replicasets", {
      apiVersion: "apps/v1",
      kind: "ReplicaSet",
      metadata: { name },
      spec: {
        replicas: 1,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { nodeSelector, containers } },
      },
    });
    const own = { path: paths.pods, query: { labelSelector: `app=${name}` } };
    await waitUntil<Pod, true>(client, own, new Deadline(`${name} to run`, 60), (seen) =>
      [...seen.values()].some(isPodReady) ? true : undefined,
    );
  }
});
