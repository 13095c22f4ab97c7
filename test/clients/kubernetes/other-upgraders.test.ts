import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { findOtherUpgraders } from "../../../src/clients/kubernetes/other-upgraders.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

const plans = "/apis/upgrade.cattle.io/v1/plans";
const daemonSets = "/apis/apps/v1/daemonsets";

describe("others that upgrade nodes", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));
  const whats = async () => (await findOtherUpgraders(client)).map(({ what, where }) => `${what} (${where})`);
  const plan = (more: object) =>
    cluster.put(plans, { metadata: { name: "servers", namespace: "system-upgrade" }, ...more });

  it("are nobody where nobody is, also where their kinds do not exist", async () => {
    assert.deepEqual(await whats(), []);
    cluster.hook = ({ path }) => (path === plans ? { status: 404, reason: "NotFound" } : undefined);
    assert.deepEqual(await whats(), []);
  });

  it("are not nobody when they cannot be seen", async () => {
    cluster.hook = ({ path }) => (path === plans ? { status: 403, reason: "Forbidden" } : undefined);
    await assert.rejects(findOtherUpgraders(client), /403/);
  });

  it("are a plan that is at work, by the name of its nodes, and one that follows a channel", async () => {
    plan({ spec: { version: "v1.34.4+rke2r1" }, status: { applying: ["demo-servers-0"] } });
    assert.deepEqual(await whats(), [
      "system-upgrade-controller is at work on demo-servers-0 (Plan system-upgrade/servers)",
    ]);
    plan({ spec: { channel: "https://update.rke2.io/v1-release/channels/stable" }, status: {} });
    assert.match((await whats()).join(), /follows the channel .* and may begin at any moment/);
    plan({ spec: { version: "v1.34.4+rke2r1" }, status: { applying: [] } });
    assert.deepEqual(await whats(), [], "a pinned plan that rests disturbs nobody");
  });

  it("are kured while it holds a node", async () => {
    const kured = (annotations: Record<string, string>) =>
      cluster.put(daemonSets, { metadata: { name: "kured", namespace: "kube-system", annotations } });
    kured({ "weave.works/kured-node-lock": `{"nodeID":"demo-workers-1","metadata":{"unschedulable":false}}` });
    assert.match((await whats()).join(), /^kured holds a node for a restart: demo-workers-1/);
    kured({ "weave.works/kured-node-lock": "unheard of" });
    assert.match((await whats()).join(), /^kured holds a node for a restart: unheard of/);
  });

  it("are Rancher where it manages the cluster", async () => {
    cluster.put("/apis/apps/v1/namespaces/cattle-system/deployments", { metadata: { name: "cattle-cluster-agent" } });
    assert.match((await whats()).join(), /^Rancher manages this cluster/);
    assert.deepEqual(await findOtherUpgraders(client, true), [], "who has imported it only, and may");
  });

  it("are Rancher, whoever may, while its version management has a plan", async () => {
    cluster.put(plans, {
      metadata: { name: "rke2-master-plan", namespace: "cattle-system" },
      spec: { version: "v1.34.4+rke2r1" },
    });
    const [problem] = await findOtherUpgraders(client, true);
    assert.match(problem?.what ?? "", /^Rancher's version management is on/);
  });
});
