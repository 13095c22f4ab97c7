import assert from "node:assert/strict";
import { UserErrors } from "../../src/runtime/errors.ts";
import { planPools, poolPlans, renderClusterPlan, type ClusterPlan } from "../../src/program/cluster-plan.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { readKeptClaims } from "../../src/clients/kubernetes/kept-claims.ts";
import { readPoolRecord, writeFacts } from "../../src/clients/kubernetes/record.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { planLocalData, recordKeptVms } from "../../src/program/local-data.ts";
import { chooseVmHosts } from "../../src/program/place-nodes.ts";
import { FakeCluster, freshCluster } from "../clients/kubernetes/fake.ts";
import { NEW, OLD, settledPicture, smallConfig } from "../support/picture.ts";

const now = new Date("2026-03-01T12:00:00Z");
const since = "2026-03-01T11:00:00.000Z";
const ZONE = "topology.kubernetes.io/zone";

const hosts = ["pve1", "pve2", "pve3"];
const siteOf = (zones?: Record<string, string>) => ({
  registrationAddress: "127.9.0.5",
  hosts,
  storage: "local",
  proxmoxPool: "nodes",
  ...(zones && { zones }),
});
const zones = { pve1: "a", pve2: "b" };
const servers = { image: OLD, servers: 1, vmIds: { first: 1000, last: 1009 }, hosts: ["pve3"] };
const workers = { name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 }, hosts: ["pve1", "pve2"] };
const later = { ...workers, rollout: 1 };
const keep = { localVolumes: { whenNodesLeave: "keep" } };
const agents = (pool: object, more: object = {}) => ({ controlPlane: servers, pools: [pool], ...more });
const configured = (keys: Record<string, unknown>) => smallConfig({ site: siteOf(zones), ...keys });

describe("volumes of a zone that loses its nodes", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, its) => {
    cluster = fresh;
    client = its;
  });

  /** Slot 0 of each pool is on pve1, in zone a; slot 1 on pve2, in zone b; the server on pve3. A volume is in zone a. */
  async function settled(keys: Record<string, unknown> = agents(workers), managers = ["cloud-controller-manager"]) {
    const observed = settledPicture({ site: siteOf(), ...keys }, client, since);
    const vms = observed.vms.map((vm) => ({ ...vm, host: vm.pool === "servers" ? "pve3" : (hosts[vm.slot] ?? "") }));
    for (const [pool, record] of observed.records) await writeFacts(client, pool, record);
    for (const { name, host, uuid } of vms) {
      const zone = { pve1: "a", pve2: "b", pve3: "c" }[host] ?? "";
      const fieldsV1 = { "f:metadata": { "f:labels": { [`f:${ZONE}`]: {} } } };
      cluster.put(paths.nodes, {
        metadata: {
          name,
          labels: { "kubernetes.io/hostname": name, [ZONE]: zone },
          managedFields: managers.map((manager) => ({ manager, fieldsV1 })),
        } as { name: string },
        status: { nodeInfo: { systemUUID: uuid } },
      });
    }
    const terms = [{ matchExpressions: [{ key: ZONE, operator: "In", values: ["a"] }] }];
    cluster.put(paths.persistentVolumes, {
      metadata: { name: "pv-7" },
      spec: {
        capacity: { storage: "10Gi" },
        claimRef: { namespace: "shop", name: "data-0" },
        csi: { driver: "csi.example.org", volumeHandle: "7" },
        nodeAffinity: { required: { nodeSelectorTerms: terms } },
      },
      status: { phase: "Bound" },
    });
    return { ...observed, vms };
  }

  const nameIn = ({ vms }: ObservedCluster, pool: string, slot: number) =>
    vms.find((vm) => vm.pool === pool && vm.slot === slot)?.name ?? "";

  async function plan(config: ReturnType<typeof smallConfig>, observed: ObservedCluster): Promise<ClusterPlan> {
    const planned = planPools(config, observed, now);
    const candidates = hosts.map((host) => ({ host, storage: "local", found: { freeGiB: 1000, shared: true } }));
    return await planLocalData(config, observed, planned, chooseVmHosts(config, observed, planned, candidates));
  }

  /** The key by which the run is refused; or the plan's words of volumes, if it is not. */
  async function answer(config: ReturnType<typeof smallConfig>, observed: ObservedCluster): Promise<string[]> {
    try {
      return renderClusterPlan(await plan(config, observed)).filter((line) => line.includes("with data need"));
    } catch (error) {
      if (!(error instanceof UserErrors)) throw error;
      for (const { what } of error.problems)
        assert.match(
          what,
          /^a volume with data needs a node with .*zone=a: .* for its pods now, and after this run there is none/,
        );
      return error.problems.map(({ where }) => where);
    }
  }

  const own = "evergreen:pools[0].localVolumes";
  const ofAll = "evergreen:localVolumes.whenNodesLeave";
  const db = { ...workers, name: "db", slots: 1, vmIds: { first: 1200, last: 1209 } };
  const inC = { pve1: "c", pve2: "b" };
  const ways: [title: string, keys: Record<string, unknown>, of: Record<string, string> | undefined, string[]][] = [
    ["a rollout keeps to the zones", agents(later), zones, []],
    ["a rollout finds other hosts", agents({ ...later, hosts: ["pve2"] }), zones, [own]],
    ["a rollout finds a host without a zone", agents({ ...later, hosts: ["pve2", "pve3"] }), zones, [own]],
    ["hosts and zones are others, and the zone is there", agents({ ...later, hosts: ["pve3"] }), { pve3: "a" }, []],
    ["a pool is made smaller, and leaves another zone", agents({ ...workers, slots: 1 }), zones, []],
    ["a pool has no slots any more", agents({ ...workers, slots: 0 }), zones, [own]],
    ["a pool is removed", { controlPlane: servers, pools: [] }, zones, [ofAll]],
    ["a pool is removed, and another one comes to its zone", agents(db), zones, []],
    ["a pool is removed, and another one comes elsewhere", agents({ ...db, hosts: ["pve2"] }), zones, [ofAll]],
    ["no node leaves, and the zone is renamed", agents(workers), inC, [own]],
    ["no node leaves, and the zones are the same", agents(workers), zones, []],
    ["others give the zones, and what comes is beside a node", agents({ ...later, hosts: ["pve2"] }), undefined, [own]],
    ["others give the zones, and what comes has the same hosts", agents(later), undefined, []],
  ];
  for (const [title, keys, of, expected] of ways)
    it(`${expected.length > 0 ? "refuse a run" : "are no matter"} when ${title}`, async () => {
      const observed = await settled();
      cluster.calls.length = 0;
      const site = siteOf(of);
      assert.deepEqual(await answer(smallConfig({ site, ...keys }), observed), expected);
      assert.deepEqual(
        cluster.calls.filter(({ method }) => method !== "GET"),
        [],
      );
    });

  it("refuse a run in which a server leaves that is alone in the zone", async () => {
    const three = { ...servers, servers: 3, hosts };
    const observed = await settled({ controlPlane: three, pools: [] });
    const vms = observed.vms.map((vm) => ({ ...vm, host: hosts[vm.slot] ?? "" }));
    for (const { name, uuid, host } of vms)
      cluster.put(paths.nodes, {
        metadata: { name, labels: { "kubernetes.io/hostname": name, [ZONE]: host === "pve1" ? "a" : "b" } },
        status: { nodeInfo: { systemUUID: uuid } },
      });
    const elsewhere = { ...three, image: NEW, hosts: ["pve2", "pve3"] };
    const config = (more: object) => configured({ controlPlane: { ...elsewhere, ...more }, pools: [] });
    assert.deepEqual(await answer(config({}), { ...observed, vms }), ["evergreen:controlPlane.localVolumes"]);
    const [line = ""] = await answer(config({ localVolumes: "keep" }), { ...observed, vms });
    assert.match(line, /start nowhere until a node is there again/);
  });

  for (const [title, managers, host] of [
    ["no node is on the host yet where it comes", ["cloud-controller-manager"], "pve4"],
    ["somebody labelled the nodes there by hand", ["kubectl-label"], "pve1"],
  ] as const)
    it(`are named and refuse nothing when nobody knows the zone of what comes: ${title}`, async () => {
      const observed = await settled(agents(workers), [...managers]);
      const config = smallConfig({ site: siteOf(), ...agents({ ...later, hosts: [host] }) });
      const planned = planPools(config, observed, now);
      const places = new Map(planned.pools.flatMap(({ slots }) => slots.map(({ name }) => [name, host] as const)));
      const words = renderClusterPlan(await planLocalData(config, observed, planned, places));
      const [line = "", ...more] = words.filter((one) => one.includes("with data need"));
      assert.deepEqual(more, []);
      assert.match(line, /whether demo-workers-0-\w+, demo-workers-1-\w+ will take its pods depends on labels/);
    });

  it("are named by consent, recorded for those that wait for their pods, and keep no VM", async () => {
    const observed = await settled();
    const config = configured(agents({ ...later, hosts: ["pve2"] }, keep));
    const clusterPlan = await plan(config, observed);
    const [line = "", ...more] = renderClusterPlan(clusterPlan).filter((one) => one.includes("with data need"));
    assert.deepEqual(more, []);
    assert.match(line, /: shop\/data-0 \(10Gi\), used by no pod now; .* and no VM is kept for it$/);
    assert.deepEqual(
      poolPlans(clusterPlan).flatMap(({ kept }) => kept),
      [],
    );
    await recordKeptVms(client, observed, clusterPlan, config, now);
    assert.deepEqual([...(await readKeptClaims(client))], ["shop/data-0"]);
    const recorded = async () => (await readPoolRecord(client, "workers")).nodes;
    const of = (slot: number) => async () => (await recorded()).find((one) => one.slot === slot)?.unplaceable;
    assert.deepEqual([await of(0)(), await of(1)()], [["shop/data-0"], undefined]);
    // Another run keeps a node there: it is waited for again. One whose node has left says it still.
    const seen = { ...observed, records: new Map([["workers", await readPoolRecord(client, "workers")]]) };
    const idle = planPools(configured(agents(workers)), observed, now);
    const gone = { ...seen, nodes: seen.nodes.filter(({ name }) => name !== nameIn(observed, "workers", 0)) };
    await recordKeptVms(client, gone, idle, config, now);
    assert.deepEqual(await of(0)(), ["shop/data-0"]);
    await recordKeptVms(client, seen, idle, config, now);
    assert.equal(await of(0)(), undefined);
  });

  it("need the consent of every pool with a node in the zone", async () => {
    const observed = await settled(agents(workers, { pools: [workers, db] }));
    const pools = [
      { ...workers, slots: 0, localVolumes: "keep" },
      { ...db, slots: 0 },
    ];
    assert.deepEqual(await answer(configured({ controlPlane: servers, pools }), observed), [
      "evergreen:pools[1].localVolumes",
    ]);
  });
});
