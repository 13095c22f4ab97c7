import assert from "node:assert/strict";
import type { Vm } from "./data-centre.ts";
import type { Stored } from "./objects.ts";
import { database } from "./server.ts";
import { forks } from "./site-off.ts";
import type { Wish } from "./scenario.ts";
import { Stage, stageImages } from "./stage.ts";
import { giveNamedTag, uidTags } from "./uid-tags.ts";

/** What etcd has of a cluster, without what is too young to be of use. */
type Snapshot = readonly (readonly [collection: "configmaps" | "nodes" | "namespaces", object: Stored])[];

/** All servers are lost with the storage that they were on, and a snapshot of etcd is in a bucket. */
describe("a cluster whose servers are all lost, in virtual time", function () {
  this.timeout(120_000);

  const kept = ["configmaps", "nodes", "namespaces"] as const;
  const all = [...kept, "leases", "pods"] as const;
  const setting = { servers: 3, agents: 2, allowDestroy: true };

  const ours = ({ world }: Stage): Vm[] => [...world.dc.vms.values()].filter(({ owner }) => owner === "ours");
  const isServer = ({ name }: Vm): boolean => name.includes("-servers-");
  const wait = async ({ world }: Stage): Promise<void> => await world.time.sleep(120_000);

  const snapshotOf = ({ world: { cluster } }: Stage): Snapshot =>
    kept.flatMap((collection) =>
      cluster.objects.list(collection).map((one) => [collection, structuredClone(one)] as const),
    );

  const clear = ({ world: { cluster } }: Stage): void => {
    for (const collection of all)
      for (const { metadata } of cluster.objects.list(collection)) {
        const { name, namespace } = metadata;
        cluster.objects.remove(collection, namespace === undefined ? name : `${namespace}/${name}`);
      }
  };

  /** The VMs are gone, and the disks with them. */
  const loseVms = async (stage: Stage, vms: readonly Vm[]): Promise<void> => {
    const { world } = stage;
    world.etcdWatcher.isOff = true;
    stage.cutPower(...vms.map(({ vmid }) => vmid));
    for (const { vmid } of vms) world.dc.vms.delete(vmid);
    world.cluster.control.etcd.members = [];
    clear(stage);
    for (const name of ["kube-system", "load"]) world.cluster.objects.put("namespaces", { metadata: { name } });
    await world.time.sleep(600_000);
  };

  /** What the API remembers on a server that is started with the snapshot: its Nodes are silent. */
  const restore = async (stage: Stage, server: Vm, snapshot: Snapshot): Promise<void> => {
    const { world } = stage;
    const { objects, control } = world.cluster;
    const removeMember = control.removeMember.bind(control);
    // The model takes the member out whose Node goes: these Nodes are the other cluster's.
    control.removeMember = () => undefined;
    stage.cutPower(server.vmid);
    clear(stage);
    for (const [collection, one] of snapshot) {
      objects.put(collection, one).metadata.uid = one.metadata.uid;
      if (collection !== "nodes") continue;
      const conditions = one.status?.conditions as { type: string; status: string }[];
      const silent = conditions.map((c) => (c.type === "Ready" ? { ...c, status: "Unknown" } : c));
      objects.put("nodes", { ...one, status: { ...one.status, conditions: silent } });
    }
    control.etcd.members = control.etcd.members.filter(({ uuid }) => uuid === server.uuid);
    await world.time.sleep(10_000);
    control.removeMember = removeMember;
    world.dc.powerOn(server);
    await wait(stage);
  };

  /** Every command is refused, and no VM and nothing in the cluster is changed. */
  const isRefused = async (stage: Stage, wish: Wish, says: RegExp): Promise<void> => {
    const { cluster } = stage.world;
    const state = () =>
      structuredClone([
        ours(stage).map(({ name, revision, running }) => [name, revision, running]),
        (["configmaps", "leases"] as const).flatMap((collection) => cluster.objects.list(collection)),
      ]);
    const before = state();
    for (let run = 0; run < 2; run += 1) {
      assert.equal(await stage.up(wish), "refused");
      assert.match(stage.engine.why, says);
      assert.match(await stage.repair(wish), says);
      assert.equal(await stage.destroy(), "failed");
      assert.match(stage.engine.why, says);
      await wait(stage);
    }
    assert.deepEqual(state(), before);
  };

  const ends = async (stage: Stage, wish: Wish): Promise<void> => {
    assert.equal(await stage.repair(wish), "");
    assert.equal(await stage.up(wish), "done", stage.engine.why);
    assert.equal(ours(stage).length, 5);
    assert.equal(new Set(ours(stage).flatMap(uidTags)).size, 1);
    stage.world.etcdWatcher.isOff = false;
    assert.deepEqual(stage.world.story.violations, []);
  };

  /** The first server of a cluster that is made where the other was. */
  const makeAnew = async (stage: Stage, wish: Wish, count: number): Promise<Vm> => {
    // What `npx pulumi refresh` does.
    stage.engine.state.forgetMissing();
    const { servers } = wish;
    assert.ok(servers);
    assert.equal(await stage.up({ ...wish, servers: { ...servers, count } }), "done", stage.engine.why);
    const [first] = ours(stage).filter(isServer);
    assert.ok(first);
    return first;
  };

  it("comes back from a snapshot that is restored in one that is made anew, by the recipe of the recovery guide", async () => {
    const stage = new Stage(stageImages(), setting);
    await stage.play(async () => {
      const snapshot = snapshotOf(stage);
      await loseVms(stage, ours(stage));
      const wish = { ...stage.serversOf(1), image: stage.agentsOf(1).image };
      const first = await makeAnew(stage, { ...wish, slots: 0 }, 1);
      await restore(stage, first, snapshot);
      await isRefused(stage, wish, /another one than that of a VM of this name, so nothing is done/);
      giveNamedTag(stage.engine.why, [first]);
      await ends(stage, wish);
      assert.ok(ours(stage).includes(first));
    });
  });

  it("comes back with all nodes of the one that was made anew, once each has the tag", async () => {
    const stage = new Stage(stageImages(), setting);
    const { dc } = stage.world;
    await stage.play(async () => {
      const snapshot = snapshotOf(stage);
      await loseVms(stage, ours(stage));
      const wish = { ...stage.serversOf(1), image: stage.agentsOf(1).image };
      const first = await makeAnew(stage, wish, 3);
      const others = ours(stage).filter((vm) => vm !== first);
      for (const { vmid } of others) stage.cutPower(vmid);
      await restore(stage, first, snapshot);
      for (const vm of others) {
        if (isServer(vm)) vm.disk.delete(database);
        dc.powerOn(vm);
        await wait(stage);
      }
      await isRefused(stage, wish, /another one than that of 5 VMs of this name, so nothing is done/);
      giveNamedTag(stage.engine.why, [first]);
      await isRefused(stage, wish, /another one than that of 4 VMs of this name, so nothing is done/);
      giveNamedTag(stage.engine.why, others);
      const before = ours(stage);
      await ends(stage, wish);
      assert.deepEqual(ours(stage), before);
    });
  });

  it("comes back without the other nodes of the one that was made anew, once the engine has forgotten them", async () => {
    const stage = new Stage(stageImages(), setting);
    await stage.play(async () => {
      const snapshot = snapshotOf(stage);
      await loseVms(stage, ours(stage));
      const wish = { ...stage.serversOf(1), image: stage.agentsOf(1).image };
      const first = await makeAnew(stage, wish, 3);
      const others = ours(stage).filter((vm) => vm !== first);
      for (const { vmid } of others) stage.cutPower(vmid);
      await restore(stage, first, snapshot);
      for (const { vmid, name } of others) {
        stage.world.dc.vms.delete(vmid);
        stage.engine.state.forgets(name);
      }
      await isRefused(stage, wish, /another one than that of a VM of this name, so nothing is done/);
      giveNamedTag(stage.engine.why, [first]);
      await ends(stage, wish);
    });
  });

  it("is made anew only where its agents are destroyed too, on or off", async () => {
    const stage = new Stage(stageImages(), setting);
    await stage.play(async () => {
      const snapshot = snapshotOf(stage);
      const agents = ours(stage).filter((vm) => !isServer(vm));
      await loseVms(stage, ours(stage).filter(isServer));
      const wish = { ...stage.serversOf(1), image: stage.agentsOf(1).image };
      assert.equal(await stage.up({ ...wish, slots: 0 }), "refused");
      assert.match(
        stage.engine.why,
        /the cluster exists but none of its servers answers.*agents that run: demo-workers-0/,
      );
      stage.cutPower(...agents.map(({ vmid }) => vmid));
      await wait(stage);
      assert.equal(await stage.up({ ...wish, slots: 0 }), "refused");
      assert.match(
        stage.engine.why,
        /VMs of an earlier cluster of this name exist.*"All servers are lost, and a snapshot is left"/,
      );
      for (const { vmid } of agents) stage.world.dc.vms.delete(vmid);
      const first = await makeAnew(stage, { ...wish, slots: 0 }, 1);
      await restore(stage, first, snapshot);
      assert.equal(await stage.up(wish), "refused");
      giveNamedTag(stage.engine.why, [first]);
      await ends(stage, wish);
    });
  });

  it("is kept from another one after that as before: a tag is consent to one cluster alone", async () => {
    const stage = new Stage(stageImages(), setting);
    const { dc } = stage.world;
    await stage.play(async () => {
      const snapshot = snapshotOf(stage);
      await loseVms(stage, ours(stage));
      const wish = { ...stage.serversOf(1), image: stage.agentsOf(1).image };
      const first = await makeAnew(stage, { ...wish, slots: 0 }, 1);
      await restore(stage, first, snapshot);
      assert.equal(await stage.up(wish), "refused");
      giveNamedTag(stage.engine.why, [first]);
      const founders = forks(stage.world);
      stage.cutPower(first.vmid);
      first.disk.delete(database);
      await wait(stage);
      dc.powerOn(first);
      await wait(stage);
      assert.deepEqual(founders, [first.name]);
      await isRefused(stage, wish, /another one than that of a VM of this name, so nothing is done/);
    });
  });
});
