import assert from "node:assert/strict";
import { compareVersions } from "../../../lab/watcher/checks.ts";
import type { MemberFact, NodeFact, PodFact, VmFact } from "../../../lab/watcher/model.ts";
import { Watcher } from "../../../lab/watcher/watcher.ts";

const tool = "evergreen@pve!up";

function vm(slot: number, generation = "aaaaaaaa", more: Partial<VmFact> = {}): VmFact {
  const name = `demo-workers-${slot}-${generation}`;
  const tags = ["evergreen", "eg-cluster-demo", "eg-pool-workers", `eg-slot-${slot}`, `eg-gen-${generation}`];
  const vmid = 1100 + slot + (generation === "aaaaaaaa" ? 0 : 50);
  return { vmid, name, uuid: `uuid-${vmid}`, running: true, template: false, tags, seeded: false, ...more };
}

function node(slot: number, generation = "aaaaaaaa", more: Partial<NodeFact> = {}): NodeFact {
  const { name, uuid } = vm(slot, generation);
  const kubelet = "v1.34.4+rke2r1";
  return {
    name,
    uuid,
    ready: true,
    schedulable: true,
    kubelet,
    server: false,
    pool: "workers",
    slot: `${slot}`,
    ...more,
  };
}

function server(slot: number, more: Partial<NodeFact> = {}): NodeFact {
  return { ...node(slot), name: `demo-servers-${slot}-cccccccc`, server: true, pool: "servers", ...more };
}

function pod(index: number, more: Partial<PodFact> = {}): PodFact {
  return {
    uid: `pod-${index}`,
    namespace: "load",
    name: `web-${index}`,
    node: "demo-workers-0-aaaaaaaa",
    labels: { app: "web" },
    owner: "ReplicaSet",
    ready: true,
    deleting: false,
    disruption: "",
    ended: false,
    ...more,
  };
}

const evicted = { deleting: true, disruption: "EvictionByEvictionAPI" };
const budget = { namespace: "load", name: "web", selector: { app: "web" }, desiredHealthy: 2 };
const kinds = (watcher: Watcher) => watcher.violations.map(({ invariant }) => invariant);
const voter = (slot: number, more: Partial<MemberFact> = {}): MemberFact => ({
  name: `demo-servers-${slot}-cccccccc-1a2b3c4d`,
  learner: false,
  healthy: true,
  ...more,
});

describe("the invariant watcher: budgets", () => {
  function threePods(): Watcher {
    const watcher = new Watcher();
    watcher.budget(budget);
    for (const index of [0, 1, 2]) watcher.pod(pod(index));
    return watcher;
  }

  it("holds nothing against a workload that is coming up", () => {
    const watcher = new Watcher();
    watcher.budget(budget);
    watcher.pod(pod(0));
    watcher.pod(pod(1, { ready: false }));
    assert.deepEqual(kinds(watcher), []);
  });

  it("allows an eviction within the budget and counts it once", () => {
    const watcher = threePods();
    watcher.pod(pod(0, evicted));
    watcher.pod(pod(0, { ...evicted, ready: false }));
    watcher.podGone("pod-0", pod(0, evicted));
    assert.deepEqual(kinds(watcher), []);
    assert.equal(watcher.evicted, 1);
  });

  it("reports one pod too few once, with the numbers, and again when it happens again", () => {
    const watcher = threePods();
    watcher.pod(pod(0, evicted));
    watcher.pod(pod(1, evicted));
    watcher.podGone("pod-0", pod(0, evicted));
    assert.deepEqual(kinds(watcher), ["budget"]);
    assert.equal(watcher.violations[0]?.subject, "load/web");
    assert.match(watcher.violations[0].evidence, /1 healthy pods, the budget demands 2/);
    watcher.pod(pod(3));
    watcher.pod(pod(3, { ready: false }));
    assert.deepEqual(kinds(watcher), ["budget", "budget"]);
  });

  it("counts no pod of a VM without power, whatever the API still says of it", () => {
    const watcher = threePods();
    watcher.vm("stopped", vm(0, "aaaaaaaa", { running: false }), tool);
    assert.deepEqual(kinds(watcher), ["budget"]);
  });

  it("takes a clone that was left, and bears the name of a node that runs, for another VM", () => {
    const watcher = threePods();
    watcher.vm("started", vm(0, "aaaaaaaa"), tool);
    watcher.vm("created", { ...vm(0, "aaaaaaaa", { running: false }), vmid: 1999, uuid: "left" }, tool);
    assert.deepEqual(kinds(watcher), []);
  });

  it("ignores pods of other workloads and namespaces", () => {
    const watcher = threePods();
    watcher.pod(pod(7, { namespace: "other" }));
    watcher.pod(pod(8, { labels: { app: "db" } }));
    watcher.podGone("pod-0", pod(0, evicted));
    watcher.podGone("pod-1", pod(1, evicted));
    assert.deepEqual(kinds(watcher), ["budget"]);
  });

  const deletions: [string, Partial<PodFact>, string[]][] = [
    ["a plain delete", { deleting: true }, ["eviction-only"]],
    ["the taint manager", { deleting: true, disruption: "DeletionByTaintManager" }, ["eviction-only"]],
    ["the eviction API", evicted, []],
    ["its DaemonSet", { deleting: true, owner: "DaemonSet" }, []],
    ["the end of its Job", { deleting: true, owner: "Job" }, []],
    ["whoever, after it had ended", { deleting: true, ended: true }, []],
  ];
  for (const [by, facts, expected] of deletions) {
    it(`judges a pod deleted by ${by}`, () => {
      const watcher = new Watcher();
      watcher.pod(pod(0));
      watcher.pod(pod(0, facts));
      watcher.podGone("pod-0", pod(0, facts));
      assert.deepEqual(kinds(watcher), expected);
    });
  }

  it("judges a pod that was deleted at once, without a grace period", () => {
    const watcher = new Watcher();
    watcher.pod(pod(0));
    watcher.podGone("pod-0", pod(0));
    assert.deepEqual(kinds(watcher), ["eviction-only"]);
  });

  it("does not judge what it could not see", () => {
    const watcher = new Watcher();
    watcher.pod(pod(0));
    watcher.podGone("pod-0", undefined);
    assert.deepEqual(kinds(watcher), []);
  });
});

describe("the invariant watcher: servers", () => {
  const three = [voter(0), voter(1), voter(2)];
  const down = { healthy: false };
  const cases: [string, MemberFact[], string[]][] = [
    ["three healthy voters", three, []],
    ["one of three down", [voter(0, down), voter(1), voter(2)], []],
    ["two of three down", [voter(0, down), voter(1, down), voter(2)], ["quorum"]],
    ["four voters while one is replaced", [...three, voter(3)], []],
    ["four voters, two down", [voter(0, down), voter(1, down), voter(2), voter(3)], ["quorum"]],
    ["one learner beside three", [...three, voter(3, { learner: true })], []],
    ["two learners", [...three, voter(3, { learner: true }), voter(4, { learner: true })], ["one-learner"]],
    ["a learner in place of a voter", [voter(0), voter(1), voter(2, { learner: true })], ["members-kept"]],
    ["a voter less", [voter(0), voter(1)], ["members-kept"]],
  ];
  for (const [what, members, expected] of cases) {
    it(`judges ${what}`, () => {
      const watcher = new Watcher();
      for (const slot of [0, 1, 2]) watcher.node(server(slot));
      watcher.setMembers(three);
      watcher.setMembers(members);
      assert.deepEqual(kinds(watcher), expected);
    });
  }

  it("lets a cluster grow from one voter", () => {
    const watcher = new Watcher();
    for (const count of [1, 2, 3]) {
      watcher.node(server(count - 1));
      watcher.setMembers(
        [...three.slice(0, count - 1), voter(count - 1, { learner: true })].filter((_, i) => i < count),
      );
      watcher.setMembers(three.slice(0, count));
    }
    assert.deepEqual(kinds(watcher), []);
  });

  const skews: [string, string, string[]][] = [
    ["v1.34.4+rke2r1", "v1.34.4+rke2r1", []],
    ["v1.34.4+rke2r1", "v1.34.3+rke2r3", []],
    ["v1.34.4+rke2r1", "v1.34.5+rke2r1", ["version-order"]],
    ["v1.34.4+rke2r1", "v1.35.0+rke2r1", ["version-order"]],
    ["v1.9.9", "v1.10.0", ["version-order"]],
  ];
  for (const [servers, agent, expected] of skews) {
    it(`judges an agent ${agent} below servers ${servers}`, () => {
      const watcher = new Watcher();
      watcher.node(server(0, { kubelet: servers }));
      watcher.node(node(0, "aaaaaaaa", { kubelet: agent }));
      assert.deepEqual(kinds(watcher), expected);
    });
  }

  it("measures agents against the oldest server", () => {
    const watcher = new Watcher();
    watcher.node(server(0, { kubelet: "v1.34.4" }));
    watcher.node(server(1, { kubelet: "v1.34.5" }));
    watcher.node(node(0, "aaaaaaaa", { kubelet: "v1.34.5" }));
    assert.deepEqual(kinds(watcher), ["version-order"]);
    assert.ok(compareVersions("v1.34.10", "v1.34.9") > 0);
  });
});

describe("the invariant watcher: agents and VMs", () => {
  const limits = { workers: { slots: 2, surge: 1, maxUnavailable: 1 } };

  function twoWorkers(): Watcher {
    const watcher = new Watcher();
    watcher.setLimits(limits);
    for (const slot of [0, 1]) {
      watcher.vm("started", vm(slot), tool);
      watcher.node(node(slot));
    }
    return watcher;
  }

  it("lets as many slots go without a node as are allowed, and no more", () => {
    const watcher = twoWorkers();
    watcher.node(node(0, "aaaaaaaa", { schedulable: false }));
    assert.deepEqual(kinds(watcher), []);
    watcher.node(node(1, "aaaaaaaa", { ready: false }));
    assert.deepEqual(kinds(watcher), ["availability"]);
    assert.match(watcher.violations[0]?.evidence ?? "", /0 of 2 slots/);
  });

  it("takes the successor for its slot, and a VM that is off for none", () => {
    const watcher = twoWorkers();
    watcher.node(node(0, "bbbbbbbb"));
    watcher.node(node(0, "aaaaaaaa", { schedulable: false }));
    watcher.node(node(1, "aaaaaaaa", { schedulable: false }));
    assert.deepEqual(kinds(watcher), []);
    watcher.vm("stopped", vm(0, "bbbbbbbb", { running: false }), tool);
    assert.deepEqual(kinds(watcher), ["availability"]);
  });

  it("says nothing while a pool is coming up", () => {
    const watcher = new Watcher();
    watcher.setLimits(limits);
    watcher.node(node(0));
    assert.deepEqual(kinds(watcher), []);
  });

  it("counts running VMs against slots and surge", () => {
    const watcher = twoWorkers();
    watcher.vm("started", vm(0, "bbbbbbbb"), tool);
    watcher.vm("created", vm(1, "bbbbbbbb", { running: false }), tool);
    assert.deepEqual(kinds(watcher), []);
    watcher.vm("started", vm(1, "bbbbbbbb"), tool);
    assert.deepEqual(kinds(watcher), ["surge"]);
  });

  it("lets a VM boot ahead where that was said, and not become a node out of its turn", () => {
    const watcher = twoWorkers();
    watcher.setLimits({ workers: { ...limits.workers, ahead: 1 } });
    watcher.vm("started", vm(0, "bbbbbbbb"), tool);
    watcher.node(node(0, "bbbbbbbb"));
    watcher.vm("started", vm(1, "bbbbbbbb"), tool);
    assert.deepEqual(kinds(watcher), []);
    watcher.node(node(1, "bbbbbbbb"));
    assert.deepEqual(kinds(watcher), ["surge"]);
  });

  it("lets no more than that boot ahead", () => {
    const watcher = twoWorkers();
    watcher.setLimits({ workers: { ...limits.workers, ahead: 1 } });
    for (const slot of [0, 1]) watcher.vm("started", vm(slot, "bbbbbbbb"), tool);
    assert.deepEqual(kinds(watcher), []);
    watcher.vm("started", vm(2, "bbbbbbbb"), tool);
    assert.deepEqual(kinds(watcher), ["surge"]);
  });

  it("reports a touched VM that was there before, but not what the lab does itself", () => {
    const watcher = new Watcher();
    const stranger = vm(0, "aaaaaaaa", { name: "database", seeded: true, tags: [] });
    watcher.vm("created", stranger, undefined);
    assert.deepEqual(kinds(watcher), []);
    watcher.vm("configured", stranger, tool);
    watcher.touched("file-write", stranger.vmid, tool);
    watcher.destroyed(stranger.vmid, tool, undefined);
    assert.deepEqual(kinds(watcher), ["owned-only", "owned-only", "owned-only"]);
  });

  it("reports a VM that is destroyed as a Node or as an etcd member", () => {
    const watcher = twoWorkers();
    watcher.destroyed(vm(0).vmid, tool, node(0));
    assert.deepEqual(kinds(watcher), ["member-destroyed"]);
    const first = vm(0, "aaaaaaaa", { vmid: 1000, name: "demo-servers-0-cccccccc" });
    watcher.vm("created", first, tool);
    watcher.setMembers([voter(0)]);
    watcher.destroyed(1000, tool, undefined);
    assert.deepEqual(kinds(watcher), ["member-destroyed", "member-destroyed"]);
  });

  it("lets a retired VM go, also when another VM has its Node's name", () => {
    const watcher = twoWorkers();
    watcher.destroyed(vm(0).vmid, tool, undefined);
    watcher.destroyed(vm(1).vmid, tool, { uuid: "another" });
    assert.deepEqual(kinds(watcher), []);
  });
});

describe("the invariant watcher: the end of a run", () => {
  function ended(): Watcher {
    const watcher = new Watcher();
    watcher.setLimits({ workers: { slots: 2, surge: 1, maxUnavailable: 1 } });
    for (const slot of [0, 1]) {
      watcher.vm("started", vm(slot), tool);
      watcher.node(node(slot));
    }
    return watcher;
  }

  it("is right when every slot has its one VM and Node", () => {
    const watcher = ended();
    watcher.vm("created", vm(5, "aaaaaaaa", { name: "template", template: true, seeded: true }), undefined);
    assert.deepEqual(watcher.finish(), []);
  });

  const cases: [string, (watcher: Watcher) => void, string[]][] = [
    ["a cordon", (w) => w.node(node(0, "aaaaaaaa", { schedulable: false })), ["cordon-left"]],
    ["a VM without its Node", (w) => w.nodeGone(node(0).name), ["orphan"]],
    ["a Node of another VM's uuid", (w) => w.node(node(0, "aaaaaaaa", { uuid: "x" })), ["orphan"]],
    ["a Node without its VM", (w) => w.destroyed(vm(0).vmid, undefined, undefined), ["orphan", "empty-slot"]],
    [
      "two VMs for a slot",
      (w) => {
        w.vm("created", vm(0, "bbbbbbbb", { running: false }), tool);
        w.node(node(0, "bbbbbbbb"));
      },
      ["duplicate"],
    ],
  ];
  for (const [what, happen, expected] of cases) {
    it(`reports ${what}`, () => {
      const watcher = ended();
      happen(watcher);
      assert.deepEqual(
        watcher.finish().map(({ invariant }) => invariant),
        expected,
      );
      assert.deepEqual(kinds(watcher), expected);
    });
  }

  it("forgets violations on reset, and keeps what it knows", () => {
    const watcher = ended();
    watcher.node(node(0, "aaaaaaaa", { schedulable: false }));
    watcher.finish();
    watcher.reset();
    assert.deepEqual(kinds(watcher), []);
    assert.equal(watcher.unfinished().length, 1);
  });
});
