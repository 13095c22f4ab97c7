import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { KubernetesError } from "../../../src/clients/kubernetes/errors.ts";
import { etcdPartOf } from "../../../src/clients/kubernetes/etcd.ts";
import {
  cordon,
  emptierOf,
  deleteNode,
  findNode,
  relabel,
  uncordon,
  secondsToDeath,
  untaintOutOfService,
} from "../../../src/clients/kubernetes/nodes.ts";
import { paths, type Node } from "../../../src/clients/kubernetes/types.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";
import { cordonedBy, leaving } from "../../../src/domain/model/formats.ts";

const name = "demo-workers-0-0a1b2c3d";
const password = `${paths.systemSecrets}/${name}.node-password.rke2`;

describe("a Node", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const node = async (): Promise<Node> => {
    const found = await findNode(client, name);
    assert.ok(found);
    return found;
  };
  const put = (spec: Node["spec"] = {}, annotations: Record<string, string> = {}) =>
    cluster.put(paths.nodes, { metadata: { name, annotations }, spec });
  /** Another machine has registered under the name since. */
  const exchange = () => {
    cluster.remove(`${paths.nodes}/${name}`);
    put();
  };

  it("is deleted with its password, and only when it is the one that was looked at", async () => {
    put();
    cluster.put(paths.systemSecrets, { metadata: { name: `${name}.node-password.rke2` } });
    const { metadata } = await node();
    exchange();
    await assert.rejects(deleteNode(client, name, metadata?.uid), KubernetesError);
    assert.ok(cluster.objects.has(`${paths.nodes}/${name}`));
    await deleteNode(client, name, (await node()).metadata?.uid);
    assert.deepEqual([cluster.objects.has(`${paths.nodes}/${name}`), cluster.objects.has(password)], [false, false]);
  });

  it("is asked to be labelled as the one that was looked at", async () => {
    put();
    const seen = await node();
    await relabel(client, seen, { tier: "gold" });
    const [{ body } = { body: {} }] = cluster.calls.filter(({ method }) => method === "PATCH");
    assert.deepEqual(body, { metadata: { uid: seen.metadata?.uid, labels: { tier: "gold" } } });
  });

  const cordons: [whose: string, spec: Node["spec"], annotations: Record<string, string>, by: string | undefined][] = [
    ["nobody's", {}, {}, "handover-2"],
    ["ours, of an earlier run", { unschedulable: true }, { [cordonedBy]: "handover-1" }, "handover-2"],
    ["an operator's", { unschedulable: true }, {}, undefined],
  ];
  for (const [whose, spec, annotations, by] of cordons)
    it(`that is cordoned while its cordon is ${whose} is ${by === undefined ? "not called ours" : "ours"}`, async () => {
      put(spec, annotations);
      await cordon(client, await node(), "handover-2");
      const { metadata, spec: after } = await node();
      assert.deepEqual([after?.unschedulable, metadata?.annotations?.[cordonedBy]], [true, by]);
      assert.equal(emptierOf(await node()), "handover-2");
      await uncordon(client, name);
      assert.equal((await node()).spec?.unschedulable, by === undefined ? true : undefined);
      assert.deepEqual((await node()).metadata?.annotations ?? {}, {});
    });

  it("that pods were told to avoid by us, and that an operator has cordoned, stays cordoned when it stays", async () => {
    put({ unschedulable: true, taints: [leaving] });
    await uncordon(client, name);
    assert.equal((await node()).spec?.unschedulable, true);
  });

  it("that somebody else has called off for good keeps that when its VM is started", async () => {
    const outOfService = "node.kubernetes.io/out-of-service";
    for (const [value, asked] of [
      ["nodeshutdown", 0],
      ["evergreen", 1],
    ] as const) {
      put({ taints: [{ key: outOfService, value, effect: "NoExecute" }] });
      await untaintOutOfService(client, await node());
      assert.equal(cluster.calls.filter(({ method }) => method === "PATCH").length, asked);
    }
  });

  it("of which nobody knows since when it is not Ready is given the whole time to come", () => {
    assert.equal(secondsToDeath({ metadata: { name } }, new Date()), 360);
  });
});

describe("a server's part in etcd", () => {
  const prefix = "etcd.rke2.cattle.io";
  const removed = { [`${prefix}/removed-node-name`]: "demo-servers-0-0a1b2c3d-12345678" };
  const member = { [`${prefix}/node-name`]: "demo-servers-0-0a1b2c3d-87654321" };
  const cases: [said: string, status: string, reason: string, annotations: object, part: string | undefined][] = [
    ["it is a voter", "True", "MemberNotLearner", member, "voter"],
    ["it learns", "False", "MemberIsLearner", member, "learner"],
    ["it is no member", "False", "NotAMember", {}, "none"],
    ["it is not healthy", "False", "Unhealthy", member, "voter"],
    ["something unheard of", "False", "Sleeping", member, undefined],
    ["its member was taken out", "True", "MemberNotLearner", removed, "none"],
    ["its member was taken out, and it has another", "True", "MemberNotLearner", { ...removed, ...member }, "voter"],
  ];
  for (const [said, status, reason, annotations, part] of cases)
    it(`is ${part ?? "not known"} when RKE2 says that ${said}`, () => {
      const conditions = [{ type: "EtcdIsVoter", status, reason }];
      assert.equal(etcdPartOf({ metadata: { annotations }, status: { conditions } } as Node), part);
    });
});
