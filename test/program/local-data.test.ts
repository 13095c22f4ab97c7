import assert from "node:assert/strict";
import { UserErrors } from "../../src/runtime/errors.ts";
import type { Config } from "../../src/config/config.ts";
import { poolPlans, renderClusterPlan, planPools, type ClusterPlan } from "../../src/program/cluster-plan.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { readPoolRecord, writeFacts } from "../../src/clients/kubernetes/record.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { planLocalData, recordKeptVms } from "../../src/program/local-data.ts";
import { FakeCluster, freshCluster } from "../clients/kubernetes/fake.ts";
import { NEW, OLD, settledPicture, smallConfig } from "../support/picture.ts";

const now = new Date("2026-03-01T12:00:00Z");
const since = "2026-03-01T11:00:00.000Z";
const DATA = { claim: "shop/data-0", size: "10Gi" };

const servers = { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } };
const workers = { name: "workers", image: NEW, slots: 2, vmIds: { first: 1100, last: 1109 } };
const before = { controlPlane: servers, pools: [{ ...workers, image: OLD }] };

describe("data on nodes that leave", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, its) => {
    cluster = fresh;
    client = its;
  });

  /** Everything as `before` asks, and a pod of slot 0 with a local volume. */
  async function settled(): Promise<ObservedCluster> {
    const observed = settledPicture(before, client, since);
    for (const [pool, record] of observed.records) await writeFacts(client, pool, record);
    for (const { name } of observed.nodes)
      cluster.put(paths.nodes, { metadata: { name, labels: { "kubernetes.io/hostname": name } } });
    bind(nameIn(observed, "workers", 0));
    return observed;
  }

  /** @param others nodes that can reach the volume as well */
  function bind(node: string, ...others: string[]): void {
    const values = [node, ...others];
    const terms = [{ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values }] }];
    cluster.put(paths.persistentVolumes, {
      metadata: { name: "pv-7" },
      spec: {
        capacity: { storage: "10Gi" },
        claimRef: { namespace: "shop", name: "data-0" },
        local: { path: "/mnt/disks/0" },
        persistentVolumeReclaimPolicy: "Retain",
        nodeAffinity: { required: { nodeSelectorTerms: terms } },
      },
      status: { phase: "Bound" },
    });
    const volumes = [{ name: "data", persistentVolumeClaim: { claimName: "data-0" } }];
    cluster.put(paths.pods, { metadata: { namespace: "shop", name: "db-0" }, spec: { nodeName: node, volumes } });
  }

  const nameIn = ({ vms }: ObservedCluster, pool: string, slot: number) =>
    vms.find((vm) => vm.pool === pool && vm.slot === slot)?.name ?? "";
  const plan = async (config: Config, observed: ObservedCluster, at = now): Promise<ClusterPlan> =>
    await planLocalData(config, observed, planPools(config, observed, at), new Map());
  const problems = async (config: Config, observed: ObservedCluster) =>
    await plan(config, observed).then(
      () => [],
      (error: unknown) => {
        if (error instanceof UserErrors) return error.problems;
        throw error;
      },
    );
  const kept = (clusterPlan: ClusterPlan) =>
    poolPlans(clusterPlan).flatMap((one) => one.kept.map(({ name, volumes }) => [name, volumes]));

  const ways: [string, Record<string, unknown>, where: string][] = [
    ["a rollout replaces its node", { controlPlane: servers, pools: [workers] }, "evergreen:pools[0].localVolumes"],
    ["its pool left the configuration", { controlPlane: servers, pools: [] }, "evergreen:localVolumes.whenNodesLeave"],
  ];
  for (const [title, wanted, where] of ways) {
    it(`refuse a run when ${title}, and nothing was written`, async () => {
      const observed = await settled();
      cluster.calls.length = 0;
      const [problem, ...more] = await problems(smallConfig(wanted), observed);
      assert.deepEqual([more, problem?.where], [[], where]);
      assert.equal(
        problem?.what,
        `${nameIn(observed, "workers", 0)} leaves, and a volume with data is on it alone: shop/data-0 (10Gi), used by shop/db-0`,
      );
      assert.deepEqual(
        cluster.calls.filter(({ method }) => method !== "GET"),
        [],
      );
    });

    it(`are kept by consent when ${title}, and remembered before the run begins`, async () => {
      const observed = await settled();
      const config = smallConfig({ ...wanted, localVolumes: { whenNodesLeave: "keep" } });
      const clusterPlan = await plan(config, observed);
      assert.deepEqual(kept(clusterPlan), [[nameIn(observed, "workers", 0), [DATA]]]);
      assert.match(
        renderClusterPlan(clusterPlan).join("\n"),
        /workers-0-\w+ leaves with data in volumes .* VM 1100 is kept, off, for 7 days after that: shop\/data-0/,
      );
      await recordKeptVms(client, observed, clusterPlan, config, now);
      const record = await readPoolRecord(client, "workers");
      assert.deepEqual(
        record.nodes.map(({ slot, phase, keeps }) => [slot, phase, keeps]),
        [
          [0, "handedOver", [DATA]],
          [1, "handedOver", undefined],
        ],
      );
    });
  }

  it("refuse a run in which all nodes leave that can reach them", async () => {
    const observed = await settled();
    const [first, second] = [nameIn(observed, "workers", 0), nameIn(observed, "workers", 1)];
    bind(first, second);
    const found = await problems(smallConfig({ controlPlane: servers, pools: [workers] }), observed);
    assert.deepEqual(
      found.map(({ what }) => what.split(" ")[0]),
      [first, second],
    );
  });

  it("are kept for a node that came back and leaves again before anything more is known of it", async () => {
    const observed = await settled();
    cluster.remove(`${paths.persistentVolumes}/pv-7`);
    const name = nameIn(observed, "workers", 0);
    const records = new Map(observed.records);
    const record = records.get("workers");
    assert.ok(record);
    const nodes = record.nodes.map((node) =>
      node.name === name ? { ...node, phase: "made" as const, keeps: [DATA] } : node,
    );
    records.set("workers", { ...record, nodes });
    const config = smallConfig({ controlPlane: servers, pools: [workers], localVolumes: { whenNodesLeave: "keep" } });
    const clusterPlan = await plan(config, {
      ...observed,
      records,
      nodes: observed.nodes.filter((node) => node.name !== name),
    });
    assert.deepEqual(kept(clusterPlan), [[name, [DATA]]]);
  });

  it("are kept on as long as the retirement of their node is not over, whenever it began", async () => {
    const observed = await settled();
    const name = nameIn(observed, "workers", 0);
    const records = new Map(observed.records);
    const record = records.get("workers");
    assert.ok(record);
    const phase = "retired" as const;
    const nodes = record.nodes.map((node) => (node.name === name ? { ...node, phase, keeps: [DATA], since } : node));
    records.set("workers", { ...record, nodes });
    const localVolumes = { whenNodesLeave: "keep", keepDays: 0 };
    const config = smallConfig({ controlPlane: servers, pools: [workers], localVolumes });
    assert.deepEqual(kept(await plan(config, { ...observed, records })), [[name, [DATA]]]);
  });

  it("are nobody's matter in a run in which no node leaves: not even asked for", async () => {
    const observed = await settled();
    cluster.calls.length = 0;
    assert.deepEqual(kept(await plan(smallConfig(before), observed)), []);
    assert.equal(cluster.calls.length, 0);
  });

  it("are named beside what else goes: scratch data of pods, and labels that people gave", async () => {
    const observed = await settled();
    const name = nameIn(observed, "workers", 1);
    const managedFields = [
      { manager: "kubectl-label", fieldsV1: { "f:metadata": { "f:labels": { "f:example.org/disk": {} } } } },
      { manager: "nfd-master", fieldsV1: { "f:metadata": { "f:labels": { "f:feature.example/avx": {} } } } },
    ];
    const labels = { "kubernetes.io/hostname": name, "example.org/disk": "ssd", "feature.example/avx": "true" };
    cluster.put(paths.nodes, { metadata: { name, labels, managedFields } as { name: string } });
    const spec = {
      nodeName: name,
      nodeSelector: { "example.org/disk": "ssd" },
      volumes: [{ name: "tmp", emptyDir: {} }],
    };
    cluster.put(paths.pods, { metadata: { namespace: "shop", name: "web" }, spec });
    const config = smallConfig({ controlPlane: servers, pools: [{ ...workers, localVolumes: "keep" }] });
    const words = renderClusterPlan(await plan(config, observed));
    assert.ok(
      words.includes(`  what pods of ${name} leave there is lost to them: 1 has an emptyDir on its disk (shop/web)`),
    );
    const [line = "", ...more] = words.filter((one) => one.includes("has what the configuration does not give"));
    assert.deepEqual(more, []);
    assert.match(line, /will not have it: label example\.org\/disk=ssd, which shop\/web needs$/);
  });

  it("go by the pool's own word before that of all pools", async () => {
    const observed = await settled();
    const all = { localVolumes: { whenNodesLeave: "keep" } };
    const refused = smallConfig({ controlPlane: servers, pools: [{ ...workers, localVolumes: "refuse" }], ...all });
    assert.equal((await problems(refused, observed)).length, 1);
    const consents = smallConfig({ controlPlane: servers, pools: [{ ...workers, localVolumes: "keep" }] });
    assert.deepEqual(await problems(consents, observed), []);
  });

  it("refuse also when a failed run has retired the node already, and nobody kept anything", async () => {
    const observed = await settled();
    const name = nameIn(observed, "workers", 0);
    cluster.remove(`${paths.nodes}/${name}`);
    const record = observed.records.get("workers");
    assert.ok(record);
    const nodes = record.nodes.map((node) => (node.name === name ? { ...node, phase: "retired" as const } : node));
    const then = { ...observed, nodes: observed.nodes.filter((node) => node.name !== name) };
    then.vms = observed.vms.map((vm) => (vm.name === name ? { ...vm, running: false } : vm));
    then.records = new Map([...observed.records, ["workers", { ...record, nodes }]]);
    const wanted = smallConfig({ controlPlane: servers, pools: [workers] });
    assert.match((await problems(wanted, then))[0]?.what ?? "", /a volume with data is on it alone: shop\/data-0/);
  });

  it("are let go by a later run alone, when its node is retired and its time over", async () => {
    const observed = await settled();
    const config = smallConfig({
      controlPlane: servers,
      pools: [workers],
      localVolumes: { whenNodesLeave: "keep", keepDays: 0 },
    });
    const clusterPlan = await plan(config, observed);
    await recordKeptVms(client, observed, clusterPlan, config, now);
    const keeps = async () => (await readPoolRecord(client, "workers")).nodes.find(({ slot }) => slot === 0)?.keeps;
    // The same run again, before the node was retired: the word stands.
    await recordKeptVms(client, await reread(observed), await plan(config, await reread(observed)), config, now);
    assert.deepEqual(await keeps(), [DATA]);
    const [old] = (await readPoolRecord(client, "workers")).nodes;
    assert.ok(old);
    await writeFacts(client, "workers", { nodes: [{ ...old, phase: "retired", since: now.toISOString() }] });
    cluster.remove(`${paths.nodes}/${old.name}`);
    const later = await reread({ ...observed, nodes: observed.nodes.filter(({ name }) => name !== old.name) });
    // It is destroyed, so what is still bound to it is no reason to refuse any more.
    await recordKeptVms(client, later, await plan(config, later), config, now);
    assert.equal(await keeps(), undefined);
  });

  it("are no more remembered of a node that has its slot and serves: what is on it is asked for again when it leaves", async () => {
    const observed = await settled();
    const name = nameIn(observed, "workers", 0);
    const config = smallConfig(before);
    const own = (await readPoolRecord(client, "workers")).nodes.find((one) => one.name === name);
    assert.ok(own);
    const keeps = async () => (await readPoolRecord(client, "workers")).nodes.find(({ slot }) => slot === 0)?.keeps;
    for (const [phase, isThere, stays] of [
      ["joined", true, true],
      ["handedOver", false, true],
      ["handedOver", true, false],
    ] as const) {
      await writeFacts(client, "workers", { nodes: [{ ...own, phase, keeps: [DATA] }] });
      const seen = await reread({ ...observed, nodes: observed.nodes.filter((one) => isThere || one.name !== name) });
      const idle = planPools(config, observed, now);
      await recordKeptVms(client, seen, idle, config, now);
      assert.deepEqual(await keeps(), stays ? [DATA] : undefined, `${phase}, ${isThere ? "with" : "without"} a Node`);
    }
  });

  it("are remembered of a node that was recorded since the look at the cluster, as one that is just adopted", async () => {
    const observed = await settled();
    const config = smallConfig({ controlPlane: servers, pools: [workers], localVolumes: { whenNodesLeave: "keep" } });
    const clusterPlan = await plan(config, observed);
    const old = { ...observed, records: new Map([["workers", { pool: "workers", generations: [], nodes: [] }]]) };
    await recordKeptVms(client, old, clusterPlan, config, now);
    assert.deepEqual((await readPoolRecord(client, "workers")).nodes.find(({ slot }) => slot === 0)?.keeps, [DATA]);
  });

  async function reread(observed: ObservedCluster): Promise<ObservedCluster> {
    return {
      ...observed,
      records: new Map([...observed.records, ["workers", await readPoolRecord(client, "workers")]]),
    };
  }
});
