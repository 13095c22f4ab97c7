import assert from "node:assert/strict";
import { Deadline } from "../../src/runtime/deadline.ts";
import type { Kubernetes, Query } from "../../src/clients/kubernetes/client.ts";
import { writeWantedSlots } from "../../src/clients/kubernetes/cluster-record.ts";
import { findLonghornNode, listLonghornNodes } from "../../src/clients/kubernetes/longhorn.ts";
import { findNode, isCordoned, nameOf } from "../../src/clients/kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../../src/clients/kubernetes/record.ts";
import { paths, type Node, type Pod } from "../../src/clients/kubernetes/types.ts";
import { named, watch } from "../../src/clients/kubernetes/watch.ts";
import { evictionRequestedBy, schedulingStoppedBy } from "../../src/domain/model/formats.ts";
import { replicasOn, type LonghornReplica, type LonghornVolume } from "../../src/domain/drain/longhorn.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { retire } from "../../src/steps/verbs/retire.ts";
import { startLoad } from "../lab/support/start.ts";
import { green, StepCluster } from "./cluster.ts";

describe("steps where Longhorn keeps data on the nodes", function () {
  this.timeout(180_000);
  let cluster: StepCluster;
  let client: Kubernetes;

  before(async () => {
    cluster = await StepCluster.start("127.79");
    client = await cluster.found();
    // Nodes leave for good here.
    await writeWantedSlots(client, "workers", []);
    for (const slot of [0, 1]) await come(cluster.slot("workers", slot));
    for (const slot of [0, 1]) await handover(cluster.run(), cluster.slot("workers", slot));
    await startLoad(cluster.lab, { replicas: 4 });
    await cluster.lab.call("POST /longhorn", { volumes: 2, replicas: 2 });
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });

  const come = async (input: SlotInput) => {
    await cluster.clone(input);
    await join(cluster.run(), input);
  };
  const replicas = async (node: string) => {
    const { items } = await client.list<LonghornReplica>(`${paths.longhorn}/replicas`);
    return replicasOn({ nodes: [], replicas: items, volumes: [], budgets: [] }, node).map(nameOf);
  };
  const volumes = async () => {
    const { items } = await client.list<LonghornVolume>(`${paths.longhorn}/volumes`);
    return items.map(({ status }) => status ?? {});
  };
  /** What Longhorn was told about a node, by us or by others. */
  const asked = async (name: string) => {
    const node = await findLonghornNode(client, name);
    const { allowScheduling, evictionRequested } = node?.spec ?? {};
    return { allowScheduling, evictionRequested, annotations: node?.metadata?.annotations ?? {} };
  };
  const nothing = { allowScheduling: true, evictionRequested: false, annotations: {} };
  const withTimeouts = (input: SlotInput, timeouts: Partial<SlotInput["site"]["timeouts"]>): SlotInput => ({
    ...input,
    site: { ...input.site, timeouts: { ...input.site.timeouts, ...timeouts } },
  });

  /** Follows what happens while a step runs. */
  async function during(
    path: string,
    query: Query,
    step: Promise<unknown>,
    see: (seen: (Node & Pod)[]) => Promise<void> | void,
  ): Promise<void> {
    const end = new AbortController();
    const following = (async () => {
      for await (const seen of watch<Node & Pod>(client, path, query, end.signal)) await see([...seen.values()]);
    })();
    try {
      await step;
    } finally {
      end.abort();
      await following;
    }
  }

  it("a node with replicas is emptied only after they have moved", async () => {
    const [old, input] = [cluster.slot("workers", 0).node, cluster.slot("workers", 0, green)];
    await come(input);
    assert.ok((await replicas(old)).length > 0, "nothing to move");
    // Its instance manager keeps its budget until the pods have gone: nobody may wait for that before they are asked to.
    assert.ok(
      (await volumes()).some(({ currentNodeID }) => currentNodeID === old),
      "no engine runs there",
    );
    /** Replicas that were left when the first pod was told to go. */
    let left: string[] | undefined;
    const onNode = { fieldSelector: `spec.nodeName=${old}` };
    await during(paths.pods, onNode, handover(cluster.run(), input), async (pods) => {
      if (pods.some(({ metadata }) => metadata?.deletionTimestamp !== undefined)) left ??= await replicas(old);
    });
    assert.deepEqual(left, []);
    assert.deepEqual(new Set((await volumes()).map(({ robustness }) => robustness)), new Set(["healthy"]));
    assert.equal(await cluster.status(1100), "stopped");
    assert.ok(!(await listLonghornNodes(client)).map(nameOf).includes(old), "Longhorn still lists it");
    const { violations, probe } = await cluster.lab.status;
    assert.deepEqual(violations, []);
    assert.equal(probe.workload.failed, 0);
  });

  it("a replica that is never rebuilt ends in time: the node serves again, and nothing is asked of Longhorn any more; nor does it go when its successor falls meanwhile", async () => {
    const [old, input] = [cluster.slot("workers", 1).node, cluster.slot("workers", 1, green)];
    await come(input);
    await cluster.lab.call("POST /longhorn", { stuck: true });
    await assert.rejects(
      handover(cluster.run(), withTimeouts(input, { storage: 2 })),
      new RegExp(
        `the Longhorn data of ${old} has not moved in 2 s[^]*replica pvc-0-r-\\d+ of volume pvc-0 is still on`,
      ),
    );
    const node = await findNode(client, old);
    assert.ok(node && !isCordoned(node));
    assert.deepEqual(await asked(old), nothing);
    assert.equal(await cluster.status(1101), "running");
    const { generations } = await readPoolRecord(client, "workers");
    assert.ok(!generations.some(({ state }) => state === "failed"), "a rebuild is no verdict on an image");

    // Hours may pass until they have moved, and the new node serves nobody by then.
    const podsOn = async () => {
      const { items } = await client.list<Pod>(paths.pods, { fieldSelector: `spec.nodeName=${old}` });
      return items.map(nameOf).toSorted();
    };
    const before = await podsOn();
    const late = assert.rejects(
      handover(cluster.run(), input),
      new RegExp(`${input.node} does not serve, so nobody leaves its slot`),
    );
    await new Deadline("its eviction by Longhorn", 60).poll(100, async () =>
      (await asked(old)).evictionRequested === true ? true : undefined,
    );
    await client.patch(`${paths.nodes}/${input.node}`, "merge", { spec: { unschedulable: true } });
    await cluster.lab.call("POST /longhorn", { stuck: false });
    await late;
    assert.deepEqual(await podsOn(), before);
    assert.equal((await findNode(client, old))?.spec?.unschedulable ?? false, false);
    assert.deepEqual(await asked(old), nothing);

    await client.patch(`${paths.nodes}/${input.node}`, "merge", { spec: { unschedulable: null } });
    await handover(cluster.run(), input);
    assert.deepEqual(await replicas(old), []);
    assert.deepEqual((await cluster.lab.status).violations, []);
  });

  it("a node that returns keeps its replicas, which a killed run had asked away before it was called retired", async () => {
    const { node, ...input } = cluster.slot("workers", 1, green);
    const own = (await readPoolRecord(client, "workers")).nodes.find(({ name }) => name === node);
    const storage = await findLonghornNode(client, node);
    assert.ok(own && storage);
    await client.patch(`${paths.longhorn}/namespaces/${storage.metadata?.namespace ?? ""}/nodes/${node}`, "merge", {
      metadata: { annotations: { [evictionRequestedBy]: "killed", [schedulingStoppedBy]: "killed" } },
      spec: { allowScheduling: false, evictionRequested: true },
    });
    await writeFacts(client, "workers", { nodes: [{ ...own, phase: "retired" }] });
    await join(cluster.run({ name: node, vmid: own.vmid, uuid: own.uuid }), { node, ...input });
    assert.deepEqual(await asked(node), nothing);
    await handover(cluster.run(), { node, ...input });
    assert.deepEqual((await cluster.lab.status).violations, []);
  });

  it("the last replica with nowhere to go is refused before the cordon", async () => {
    const [input, other] = [cluster.slot("workers", 0, green), cluster.slot("workers", 1, green)];
    await cluster.lab.call("POST /longhorn", { volumes: 4, replicas: 1 });
    const path = `${paths.longhorn}/namespaces/longhorn-system/nodes/${other.node}`;
    await client.patch(path, "merge", { spec: { allowScheduling: false } });
    let cordoned = false;
    const { path: nodes, query } = named(paths.nodes, input.node);
    const step = assert.rejects(
      retire(cluster.run(), withTimeouts(input, { gate: 1 })),
      new RegExp(
        `no other node takes the \\d Longhorn replicas of ${input.node}, the last ones of pvc-[23][^]*${other.node}: scheduling is off`,
      ),
    );
    await during(nodes, query, step, (seen) => {
      cordoned ||= seen.some(isCordoned);
    });
    assert.equal(cordoned, false);
    assert.deepEqual(await asked(input.node), nothing);
    assert.deepEqual((await asked(other.node)).allowScheduling, false, "what somebody else turned off stays off");
    assert.equal(await cluster.status(input.vmid), "running");
  });

  it("a faulted volume is refused at once", async () => {
    const { node } = cluster.slot("workers", 0, green);
    const volume = `${paths.longhorn}/namespaces/longhorn-system/volumes/pvc-0`;
    await client.patch(volume, "merge", { status: { robustness: "faulted" } });
    await assert.rejects(
      retire(cluster.run(), withTimeouts(cluster.slot("workers", 0, green), { gate: 60 })),
      new RegExp(`${node} holds a replica of the Longhorn volume pvc-0, which is faulted`),
    );
    assert.deepEqual(await asked(node), nothing);
  });

  it("the last replica on a node whose Node somebody has deleted is not destroyed with its VM", async () => {
    const input = cluster.slot("workers", 0, green);
    const last = await replicas(input.node);
    assert.ok(last.length > 0, "nothing to lose");
    await client.delete(`${paths.nodes}/${input.node}`);
    await assert.rejects(retire(cluster.run(), input), /holds the last healthy replica of the Longhorn volume pvc-/);
    assert.equal(await cluster.status(input.vmid), "running");
    await cluster.turnOff(input.vmid);
    await assert.rejects(retire(cluster.run(), input), /is off or has no Node, and holds the last healthy replica/);
    assert.deepEqual(await replicas(input.node), last);
  });
});
