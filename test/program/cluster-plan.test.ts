import assert from "node:assert/strict";
import { UserErrors } from "../../src/runtime/errors.ts";
import { poolSpecs, type Config } from "../../src/config/config.ts";
import { renderClusterPlan, newSlots, planPools, planCluster } from "../../src/program/cluster-plan.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { catalogue, type ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { adoptedGeneration, generationOf } from "../../src/domain/model/generation.ts";
import type { ObservedNode, ObservedVm, PoolRecord } from "../../src/domain/model/types.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { NEW, OLD, picture, running, smallConfig } from "../support/picture.ts";

const now = new Date("2026-03-01T12:00:00Z");
const since = "2026-03-01T11:00:00.000Z";

/** A cluster in which every slot of the configuration was handed over. */
function settled(config: Config): ObservedCluster {
  const vms: ObservedVm[] = [];
  const nodes: ObservedNode[] = [];
  const records = new Map<string, PoolRecord>();
  for (const { name: pool, slots, node: spec, range } of poolSpecs(config, catalogue(picture()))) {
    const members = Array.from({ length: slots }, (_, slot) => running(pool, slot, spec, range.first + slot));
    vms.push(...members.map(({ vm }) => vm));
    nodes.push(...members.map(({ node }) => node));
    records.set(pool, {
      pool,
      generations: [{ ...generationOf(spec), state: "proved", since }],
      nodes: members.map(({ vm: { name, slot, generation, vmid, uuid } }) => ({
        name,
        slot,
        generation,
        vmid,
        uuid,
        phase: "handedOver",
        since,
      })),
    });
  }
  return picture({ vms, nodes, records, takenVmids: vms.map(({ vmid }) => vmid) });
}

const problemsOf = (config: Config, observed: ObservedCluster) => {
  try {
    planPools(config, observed, now);
  } catch (error) {
    if (error instanceof UserErrors) return error.problems;
    throw error;
  }
  return [];
};

describe("the plan of a whole cluster", () => {
  it("makes servers and agents of an empty site, and counts the disks of both", () => {
    const clusterPlan = planPools(smallConfig(), picture(), now);
    assert.deepEqual(
      [clusterPlan.controlPlane.pool, ...clusterPlan.pools.map(({ pool }) => pool)],
      ["servers", "workers"],
    );
    assert.deepEqual(
      newSlots(clusterPlan).map(({ generation }) => generation.spec.diskGiB),
      [40, 40, 40],
    );
    assert.deepEqual(clusterPlan.removed, []);
  });

  it("refuses what cannot change while the cluster lives, by the key", () => {
    const controlPlane = { image: OLD, servers: 1, vmIds: { first: 1000, last: 1009 }, replaceOnlyServer: true };
    const other = smallConfig({ controlPlane: { ...controlPlane, config: { "cluster-cidr": "10.244.0.0/16" } } });
    const wheres = problemsOf(other, settled(smallConfig())).map(({ where }) => where);
    assert.deepEqual(wheres, ["evergreen:controlPlane.config.cluster-cidr"]);
    assert.deepEqual(problemsOf(other, picture()), [], "a cluster that does not live yet");
  });

  it("of what is as it should be makes nothing", () => {
    const clusterPlan = planPools(smallConfig(), settled(smallConfig()), now);
    assert.deepEqual(newSlots(clusterPlan), []);
    assert.ok(
      renderClusterPlan(clusterPlan).every((line) => line.includes("nothing to do")),
      renderClusterPlan(clusterPlan).join("\n"),
    );
  });

  it("replaces no node for the order of CPU flags, in which a record has them", () => {
    const workers = { name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 } };
    const asked = (...flags: string[]) => smallConfig({ pools: [{ ...workers, cpu: { flags } }] });
    const before = settled(smallConfig());
    const [spec] = poolSpecs(smallConfig(), catalogue(before)).filter(({ name }) => name === "workers");
    assert.ok(spec);
    const node = { ...spec.node, hardware: { cpu: { flags: ["+pcid", "+aes"] } } };
    const members = [0, 1].map((slot) => running("workers", slot, node, 1100 + slot));
    const nodes = members.map(({ vm: { name, slot, generation, vmid, uuid } }) => {
      return { name, slot, generation, vmid, uuid, phase: "handedOver" as const, since };
    });
    const generations = [{ ...generationOf(node), state: "proved" as const, since }];
    const observed = {
      ...before,
      vms: [...before.vms.filter(({ pool }) => pool !== "workers"), ...members.map(({ vm }) => vm)],
      nodes: [...before.nodes.filter(({ pool }) => pool !== "workers"), ...members.map((one) => one.node)],
      records: new Map(before.records).set("workers", { pool: "workers", generations, nodes }),
    };
    const made = (config: Config) => newSlots(planPools(config, observed, now)).length;
    assert.deepEqual([made(asked("+pcid", "+aes")), made(asked("+aes", "+pcid", "+aes"))], [0, 0]);
    assert.deepEqual([made(asked("+aes")), made(smallConfig())], [2, 2], "other flags");
  });

  it("counts a soak by the cluster's clock, however wrong ours is", () => {
    const pool = { name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 } };
    const config = smallConfig({ pools: [{ ...pool, strategy: { soakSeconds: 600 } }] });
    const soaksUntil = (clusterTime: string) => {
      const before = settled(config);
      const records = new Map(
        [...before.records].map(([name, { generations, ...record }]) => {
          const states = generations.map((one) => ({ ...one, state: "soaking" as const }));
          return [name, { ...record, generations: name === "workers" ? states : generations }];
        }),
      );
      const kubernetes = { now: () => new Date(clusterTime) } as unknown as Kubernetes;
      return planPools(config, { ...before, records, kubernetes }).pools[0]?.soaksUntil;
    };
    assert.equal(soaksUntil("2026-03-01T11:09:59.000Z"), "2026-03-01T11:10:00.000Z");
    assert.equal(soaksUntil("2026-03-01T11:10:00.000Z"), undefined);
  });

  it("takes out a pool that left the configuration, every node of it, and says so", () => {
    const clusterPlan = planPools(smallConfig({ pools: [] }), settled(smallConfig()), now);
    assert.deepEqual(clusterPlan.pools, []);
    assert.deepEqual(
      clusterPlan.removed.map(({ pool, kind, leaving }) => [pool, kind, leaving.length]),
      [["workers", "remove", 2]],
    );
    assert.match(
      renderClusterPlan(clusterPlan).join("\n"),
      /^remove workers: it left the configuration, 2 nodes leave$/m,
    );
  });

  it("refuses an agent image that is newer than the servers", () => {
    const pools = [{ name: "workers", image: NEW, slots: 2, vmIds: { first: 1100, last: 1109 } }];
    const problems = problemsOf(smallConfig({ pools }), settled(smallConfig()));
    assert.deepEqual(
      problems.map(({ what, where }) => [what.split(":")[0], where]),
      [[`${NEW} cannot be used for agents`, "pool workers, image"]],
    );
  });

  it("names what stands against it in every pool at once", () => {
    const full = { image: NEW, slots: 2, vmIds: { first: 1100, last: 1103 } };
    const config = smallConfig({
      controlPlane: { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } },
      pools: [{ ...full, name: "workers" }],
    });
    const observed = settled(smallConfig());
    observed.takenVmids.push(1102, 1103);
    const whats = problemsOf(config, observed).map(({ what }) => what);
    assert.equal(whats.length, 2, whats.join("\n"));
    assert.match(whats.join("\n"), /this would replace the only server/);
    assert.match(whats.join("\n"), /2 new VMs of pool workers need a VMID and 0 are free/);
  });

  const withAddresses = (vmIds: { first: number; last: number }, name = "workers") =>
    smallConfig({
      site: { registrationAddress: "127.9.0.5", hosts: ["pve1"], storage: "local", proxmoxPool: "nodes" },
      pools: [{ name, image: OLD, slots: 2, rollout: 1, vmIds, firstAddress: "127.9.1.1" }],
    });
  const addressesOf = (config: Config, observed: ObservedCluster) =>
    planPools(config, observed, now).pools.flatMap(({ slots }) => slots.map(({ address }) => address));
  for (const [what, vmIds, name] of [
    ["begins later", { first: 1101, last: 1109 }],
    ["moves", { first: 1200, last: 1209 }],
    ["is that of a pool with a new name", { first: 1200, last: 1209 }, "others"],
  ] as const)
    it(`gives no address twice when the range of VMIDs ${what} and that of addresses stays`, () => {
      const before = settled(smallConfig());
      const records = new Map(
        [...before.records].map(([pool, { nodes, ...record }]) => {
          const recorded = nodes.map((node) => ({ ...node, address: `127.9.1.${node.vmid - 1099}` }));
          return [pool, pool === "workers" ? { ...record, nodes: recorded } : { ...record, nodes }];
        }),
      );
      const addresses = addressesOf(withAddresses(vmIds, name), { ...before, records });
      assert.deepEqual(addresses, ["127.9.1.3", "127.9.1.4"]);
    });

  it("gives no address that a Node has whose record does not say so, as an adopted one", () => {
    const before = settled(smallConfig());
    const nodes = before.nodes.map((node) =>
      node.pool === "servers" ? { ...node, addresses: ["fd00::7", "127.9.1.1"] } : node,
    );
    const config = withAddresses({ first: 1200, last: 1209 });
    assert.deepEqual(addressesOf(config, { ...before, nodes }), ["127.9.1.2", "127.9.1.3"]);
  });

  it("gives no IPv6 address that a Node or a record has, however it is written", () => {
    const before = settled(smallConfig());
    const nodes = before.nodes.map((node) =>
      node.pool === "servers" ? { ...node, addresses: ["FD00:0:0::1", "10.0.0.9"] } : node,
    );
    const records = new Map(
      [...before.records].map(([pool, record]) => {
        const known = record.nodes.map((node) => ({ ...node, address6: "fd00::2" }));
        return [pool, pool === "workers" ? { ...record, nodes: known } : record];
      }),
    );
    const vmIds = { first: 1200, last: 1209 };
    const config = smallConfig({
      pools: [{ name: "workers", image: OLD, slots: 2, rollout: 1, vmIds, firstAddress6: "fd00:0::0:1" }],
    });
    const { pools } = planPools(config, { ...before, nodes, records }, now);
    const given = pools.flatMap(({ slots }) => slots.map(({ address6 }) => address6));
    assert.deepEqual(given, ["fd00::3", "fd00::4"]);
  });

  describe("of a cluster with pods of both families", () => {
    const config = { "cluster-cidr": "10.42.0.0/16,fd00:42::/56", "service-cidr": "10.43.0.0/16,fd00:43::/112" };
    const dual = (pool: object) =>
      smallConfig({
        controlPlane: { image: OLD, servers: 1, vmIds: { first: 1000, last: 1009 }, config },
        pools: [{ name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 }, ...pool }],
      });
    const whatsOf = (asked: Config, observed: ObservedCluster) => problemsOf(asked, observed).map(({ what }) => what);

    it("refuses the first nodes while nothing says that they have IPv6, and names their pools", () => {
      const [servers, workers, ...others] = whatsOf(dual({}), picture());
      assert.match(servers ?? "", /nodes of servers have IPv6/);
      assert.match(workers ?? "", /nodes of workers have IPv6/);
      assert.deepEqual(others, []);
    });

    it("takes a pool as it is while its nodes have IPv6 that they were not given", () => {
      const before = settled(dual({}));
      const seen = before.nodes.map((node) => ({ ...node, addresses: ["10.0.0.9", "fd00::9"] }));
      assert.equal(planPools(dual({ rollout: 1 }), { ...before, nodes: seen }, now).pools[0]?.kind, "roll");
      const records = new Map(
        [...before.records].map(([pool, record]) => {
          const nodes = record.nodes.map((node) => ({ ...node, address6: "fd00::9" }));
          return [pool, { ...record, nodes }];
        }),
      );
      assert.match(
        whatsOf(dual({ rollout: 1 }), { ...before, nodes: seen, records }).join(),
        /^nothing says that nodes of workers have IPv6/,
      );
    });
  });

  it("lets agents follow servers to a newer RKE2 in the same run", () => {
    const config = smallConfig({
      controlPlane: { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 }, replaceOnlyServer: true },
      pools: [{ name: "workers", image: NEW, slots: 2, vmIds: { first: 1100, last: 1109 } }],
    });
    const clusterPlan = planPools(config, settled(smallConfig()), now);
    assert.deepEqual([clusterPlan.controlPlane.kind, clusterPlan.pools[0]?.kind], ["roll", "roll"]);
    assert.match(
      renderClusterPlan(clusterPlan).join("\n"),
      /^ {2}there is no way back from RKE2 \S+ but restoring an etcd snapshot/m,
    );
  });

  it("refuses servers that would go back to an older RKE2, before anything is done", () => {
    const newer = smallConfig({
      controlPlane: { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } },
    });
    const back = smallConfig({
      controlPlane: { image: OLD, servers: 1, vmIds: { first: 1000, last: 1009 }, replaceOnlyServer: true },
    });
    const whats = problemsOf(back, settled(newer)).map(({ what }) => what);
    assert.match(whats.join("\n"), /^servers cannot go back from RKE2 v1\.34\.5\+rke2r1 to v1\.34\.4\+rke2r1$/m);
  });

  /** The server was adopted and runs an RKE2; what else there is was handed over. */
  const withAdoptedServer = (kubelet: string): ObservedCluster => {
    const observed = settled(smallConfig());
    const generation = adoptedGeneration("kube-a");
    const place = { name: "kube-a", pool: "servers", slot: 0, generation, uuid: "uuid-302" };
    const { name, slot, uuid } = place;
    const memory = { name, slot, generation, uuid, vmid: 302, phase: "handedOver" as const, since };
    observed.records = new Map(observed.records).set("servers", { pool: "servers", generations: [], nodes: [memory] });
    observed.vms = [
      ...observed.vms.filter(({ pool }) => pool !== "servers"),
      { ...place, vmid: 302, host: "pve1", running: true },
    ];
    const node = { ...place, ready: true, schedulable: true, kubelet, role: "server" as const };
    observed.nodes = [...observed.nodes.filter(({ pool }) => pool !== "servers"), node];
    return observed;
  };

  it("learns nothing of IPv6 from adopted nodes: they may have been given it", () => {
    const observed = withAdoptedServer("v1.34.4+rke2r1");
    const nodes = observed.nodes.map((node) => ({ ...node, addresses: ["10.0.0.9", "fd00::9"] }));
    const config = { "cluster-cidr": "10.42.0.0/16,fd00:42::/56", "service-cidr": "10.43.0.0/16,fd00:43::/112" };
    const controlPlane = {
      image: OLD,
      servers: 1,
      vmIds: { first: 1000, last: 1009 },
      replaceOnlyServer: true,
      config,
    };
    const [problem, ...others] = problemsOf(smallConfig({ controlPlane }), { ...observed, nodes });
    assert.match(problem?.what ?? "", /nothing says that nodes of servers have IPv6/);
    assert.deepEqual(others, []);
  });

  it("leaves an adopted only server as it is, and holds the agents against the RKE2 that it runs", () => {
    const pools = [{ name: "workers", image: NEW, slots: 2, vmIds: { first: 1100, last: 1109 } }];
    const problems = problemsOf(smallConfig({ pools }), withAdoptedServer("v1.34.4+rke2r1"));
    assert.match(problems.map(({ what }) => what).join("\n"), /^\S+v1\.1\.0 cannot be used for agents/);
    const clusterPlan = planPools(smallConfig({ pools }), withAdoptedServer("v1.34.5+rke2r1"), now);
    assert.deepEqual([clusterPlan.controlPlane.unreplaced, clusterPlan.controlPlane.slots], [["kube-a"], []]);
    assert.equal(clusterPlan.pools[0]?.kind, "roll");
  });

  it("holds the configuration of new servers against what RKE2 says of adopted ones", () => {
    const adopted = withAdoptedServer("v1.34.5+rke2r1");
    adopted.nodes = adopted.nodes.map((node) =>
      node.name === "kube-a" ? { ...node, lifelongKeys: { cni: "cilium", "cluster-cidr": "10.42.0.0/16" } } : node,
    );
    const controlPlane = { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } };
    const replaced = smallConfig({ controlPlane: { ...controlPlane, replaceOnlyServer: true } });
    const [problem, ...others] = problemsOf(replaced, adopted);
    assert.deepEqual(others, []);
    assert.equal(problem?.where, "evergreen:controlPlane.config.cni");
    assert.match(problem.todo, /^set it to cilium: /);
    assert.deepEqual(problemsOf(smallConfig(), adopted), [], "a run that makes no server");
  });

  it("lets the adoption of servers go on whose keys are in the image, with these keys and without them", () => {
    const controlPlane = { image: OLD, servers: 3, vmIds: { first: 1000, last: 1009 } };
    const config = smallConfig({ controlPlane });
    const before = settled(config);
    const generation = adoptedGeneration("kube-a");
    const place = { name: "kube-a", pool: "servers", slot: 0, generation, uuid: "uuid-302" };
    const isFirst = ({ pool, slot }: { pool: string; slot: number }) => pool === "servers" && slot === 0;
    const record = before.records.get("servers");
    assert.ok(record);
    const nodes = record.nodes.map((one) => (one.slot === 0 ? { ...one, ...place, vmid: 302 } : one));
    const observed = {
      ...before,
      vms: before.vms.map((vm) => (isFirst(vm) ? { ...vm, ...place, vmid: 302 } : vm)),
      nodes: before.nodes.map((node) => ({
        ...node,
        ...(isFirst(node) && place),
        ...(node.role === "server" && { lifelongKeys: { cni: "cilium" } }),
      })),
      records: new Map(before.records).set("servers", { ...record, nodes }),
    };
    assert.deepEqual(problemsOf(config, observed), []);
    const said = smallConfig({ controlPlane: { ...controlPlane, config: { cni: "cilium" } } });
    assert.deepEqual(problemsOf(said, observed), []);
  });

  it("does not begin while an entry of adoption is wrong, and says nothing else before", () => {
    const problem = { what: "VM 302 cannot be adopted", where: "here", todo: "that" };
    const observed = picture({ adoption: { problems: [problem], pending: [], released: [] } });
    assert.deepEqual(problemsOf(smallConfig(), observed), [problem]);
  });

  it("says of an adopted VM that has left whose it is", () => {
    const observed = settled(smallConfig());
    const [vm] = observed.vms.filter(({ pool }) => pool === "workers");
    assert.ok(vm);
    const left = { ...vm, name: "kube-b", vmid: 303, running: false };
    const adoption = { problems: [], pending: [], released: [{ vm: left, tagged: false }] };
    const words = renderClusterPlan(planPools(smallConfig(), { ...observed, adoption }, now)).join("\n");
    assert.match(words, /^workers: .*\n {2}kube-b has left the cluster: VM 303 is off and yours to delete$/m);
  });

  it("does not begin when the APIs contradict each other", () => {
    const observed = settled(smallConfig());
    observed.vms = observed.vms.filter(({ pool }) => pool !== "workers");
    const whats = problemsOf(smallConfig(), observed).map(({ what }) => what);
    assert.equal(whats.length, 2);
    assert.ok(whats.every((what) => /^the VM of .*demo-workers-\d-.* is gone/.test(what)));
  });
});

describe("places of new nodes", () => {
  it("step over VMIDs that only Proxmox knows to be taken", async () => {
    const strangers = ["1000", "1101"];
    await using pve = await fakeProxmox(({ parameters: { vmid = "" } }) =>
      strangers.includes(vmid)
        ? { status: 400, reason: "Parameter verification failed.", errors: { vmid: `VM ${vmid} already exists` } }
        : { data: vmid },
    );
    const clusterPlan = await planCluster(pve.client, smallConfig(), picture());
    const vmids = [clusterPlan.controlPlane, ...clusterPlan.pools].flatMap(({ slots }) =>
      slots.map(({ vmid }) => vmid),
    );
    assert.deepEqual(vmids, [1001, 1100, 1102]);
  });
});
