import assert from "node:assert/strict";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

/** What an image is judged for, and what it is not: pods that start nowhere, a registry, the network of a host. */
describe("agents and the verdict on their image, in virtual time", function () {
  this.timeout(60_000);

  it("are not replaced one after the other while no pod starts on the first new one (kops#7258)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    const { objects, pods } = stage.world.cluster;
    await stage.play(async () => {
      pods.deploy({ name: "app", replicas: 6, minAvailable: 0, slowestEnd: 1000, claims: false });
      await stage.world.time.sleep(30_000);
      const old = [1100, 1101, 1102].map((vmid) => stage.nameOf(vmid));
      const isBack = unfetched(stage, ({ metadata, spec }) => {
        const node = spec?.nodeName;
        return metadata.labels?.app === "app" && typeof node === "string" && !old.includes(node);
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(
        stage.engine.why,
        /of the pods that left for demo-workers-0-\w+ none has started in .*ImagePullBackOff/,
      );
      assert.ok(stage.vm(1101).running && stage.vm(1102).running);
      assert.doesNotMatch(JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data), /failed/);
      isBack();
      for (const pod of objects.list("pods").filter(({ metadata }) => metadata.labels?.app === "app"))
        objects.put("pods", { ...pod, status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] } });
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are not replaced either while no pod of a dead one starts elsewhere", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { pods } = stage.world.cluster;
    await stage.play(async () => {
      pods.deploy({ name: "app", replicas: 4, minAvailable: 0, slowestEnd: 1000, claims: false });
      await stage.world.time.sleep(30_000);
      stage.cutPower(1100);
      await stage.world.time.sleep(70_000);
      const old = [1100, 1101].map((vmid) => stage.nameOf(vmid));
      unfetched(stage, ({ metadata, spec }) => {
        const node = spec?.nodeName;
        return metadata.labels?.app === "app" && typeof node === "string" && !old.includes(node);
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /of the pods that left for demo-workers-0-\w+ none has started/);
      assert.ok(stage.vm(1101).running);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are done beside a workload that has started nowhere, and had waited for their room", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { objects, pods } = stage.world.cluster;
    const small = { minAvailable: 0, slowestEnd: 1000, claims: false };
    await stage.play(async () => {
      pods.deploy({ ...small, name: "app", replicas: 4 });
      await stage.world.time.sleep(30_000);
      unfetched(stage, ({ metadata }) => metadata.labels?.app === "broken");
      const run = stage.up({ ...stage.before, slots: 2 });
      const isThere = () => JSON.stringify(objects.get("nodes", stage.nameOf(1101)) ?? {}).includes('"status":"True"');
      await stage.until(isThere);
      pods.deploy({ ...small, name: "broken", replicas: 1 });
      assert.equal(await run, "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are not judged while a registry gives none of their daemons, which older ones have", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const old = [1100, 1101].map((vmid) => stage.nameOf(vmid));
      const isOnNew = (node: unknown) =>
        typeof node === "string" && node.startsWith("demo-workers-") && !old.includes(node);
      const isBack = unfetched(
        stage,
        ({ metadata, spec }) => metadata.labels?.daemon === "rke2-canal" && isOnNew(spec?.nodeName),
      );
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /its daemons cannot be fetched: kube-system\/rke2-canal-.*: ImagePullBackOff/);
      assert.ok(stage.vm(1100).running && stage.vm(1101).running);
      isBack();
      for (const pod of objects.list("pods").filter(({ spec }) => isOnNew(spec?.nodeName)))
        objects.put("pods", { ...pod, status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] } });
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are not judged while a slow registry gives their daemons one after the other", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { objects, pods } = stage.world.cluster;
    await stage.play(async () => {
      const isFast = pods.slowDown({ ms: [100_000, 110_000] });
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      const says =
        /its daemons are still being made: kube-system\/rke2-canal-.*: Pulling image .* since 2026-.*the image was not judged/;
      assert.match(stage.engine.why, says);
      assert.doesNotMatch(JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data), /failed/);
      isFast();
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  // Lost with the network of the VMs: the storage on which the statistics daemon of the host waits.
  for (const also of ["", ", whose statistics hang"]) {
    it(`are not judged in their soak for the network of one host, on which nobody is heard for a minute${also}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 4, soakSeconds: 120 });
      const { world } = stage;
      const { objects, nodes } = world.cluster;
      const record = () => JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data);
      await stage.play(async () => {
        const run = stage.up(stage.agentsOf(1));
        await stage.until(() => record().includes("soaking"));
        await world.time.sleep(20_000);
        stage.vm(1002).host = "pve2";
        const away = [...world.dc.vms.values()].filter(({ running, host }) => running && host === "pve1");
        if (also !== "") world.dc.withoutStatistics.add("pve1");
        for (const { name } of away) world.watcher.touchedByFate(name);
        const ends = away.map(({ name }) => nodes.stall(name));
        await world.time.sleep(60_000);
        for (const end of ends) end();
        assert.equal(await run, "failed");
        assert.match(stage.engine.why, /was disturbed.* no node on the Proxmox host pve1 was heard: demo-servers-0/);
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
        assert.doesNotMatch(record(), /failed|soaking/);
      });
      assert.deepEqual(world.story.violations, []);
    });

    it(`are not judged for the network of one host, on which nobody else is heard when they do not register${also}`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 5 });
      const { world } = stage;
      const { objects, nodes } = world.cluster;
      const record = () => JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data);
      await stage.play(async () => {
        const away = [...world.dc.vms.values()].filter(({ running, host }) => running && host === "pve2");
        if (also !== "") world.dc.withoutStatistics.add("pve2");
        for (const { name } of away) world.watcher.touchedByFate(name);
        const ends = away.map(({ name }) => nodes.stall(name));
        await world.time.sleep(60_000);
        world.watcher.availability.runBegins();
        const register = nodes.register.bind(nodes);
        const isAway = (name: string) =>
          [...world.dc.vms.values()].some((vm) => vm.name === name && vm.host === "pve2");
        nodes.register = (name, ...rest) => !isAway(name) && register(name, ...rest);
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(
          stage.engine.why,
          /to be Ready.*no node on the Proxmox host pve2 was heard: there is no other, and its image serves elsewhere/,
        );
        assert.doesNotMatch(record(), /failed/);
        nodes.register = register;
        for (const end of ends) end();
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      });
      assert.deepEqual(world.story.violations, []);
    });
  }

  for (const name of ["gpu", "gpu-workers"])
    it(`are not judged in pool ${name} while a node of pool workers is not heard either`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
      const { world } = stage;
      const { nodes, objects } = world.cluster;
      await stage.play(async () => {
        const pool = {
          name,
          first: 1200,
          slots: 1,
          rollout: 0,
          strategy: { kind: "rolling", surge: 1, maxUnavailable: 1 },
        };
        const withPool = (image: string) => ({ ...stage.before, others: [{ ...pool, image }] });
        assert.equal(await stage.up(withPool(stage.before.image)), "done", stage.engine.why);
        const register = nodes.register.bind(nodes);
        nodes.register = (own, ...rest) => !own.startsWith(`demo-${name}-`) && register(own, ...rest);
        const worker = stage.nameOf(1100);
        world.watcher.struck(worker);
        const run = stage.up(withPool(stage.agentsOf(1).image));
        await stage.until(() => world.dc.vms.get(1201)?.running === true);
        nodes.flap(worker, 600_000);
        assert.equal(await run, "failed");
        assert.match(stage.engine.why, /it never registered.*; not Ready either: demo-workers-0-/);
        assert.doesNotMatch(JSON.stringify(objects.get("configmaps", `evergreen-system/pool-${name}`)?.data), /failed/);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("are judged when they do not register on a host whose only other nodes are off", async () => {
    const stage = new Stage(stageImages("never-ready"), { servers: 1, agents: 5 });
    const { world } = stage;
    const { objects, nodes } = world.cluster;
    await stage.play(async () => {
      const off = [...world.dc.vms.values()].filter(({ running, host }) => running && host === "pve2");
      stage.cutPower(...off.map(({ vmid }) => vmid));
      await world.time.sleep(60_000);
      world.watcher.availability.runBegins();
      nodes.register = () => false;
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /it never registered/);
      assert.match(JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data), /failed/);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are watched in their soak from its beginning, and not from before a slot that is no more was cleared", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, soakSeconds: 60 });
    const { world } = stage;
    const { objects, nodes } = world.cluster;
    const isIn = (slot: number) => (one: Stored) => one.metadata.name.startsWith(`demo-workers-${slot}-`);
    await stage.play(async () => {
      const grown = { ...stage.before, slots: 2 };
      assert.equal(await stage.dieAt(grown, () => objects.list("nodes").some(isIn(1))), "killed");
      await world.time.sleep(60_000);
      const incomplete = stage.vm(1101);
      let isCleared = false;
      world.defect = (call) => {
        const { process, path } = call;
        if (process.name.startsWith("rollout-demo-workers") && path.includes("/qemu/1101/"))
          return { status: 595, reason: "No route to host" };
        if (!isCleared && process.name.startsWith("verify-demo-workers") && path.includes("/qemu/1101/")) {
          isCleared = true;
          incomplete.lock = "backup";
          nodes.flap(objects.list("nodes").find(isIn(0))?.metadata.name ?? "", 60_000);
          world.time.after(90_000, () => (incomplete.lock = undefined));
        }
        return world.honest(call);
      };
      assert.equal(await stage.up({ ...stage.agentsOf(1), slots: 1 }), "done", stage.engine.why);
      assert.ok(isCleared);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

/** The images of some pods cannot be fetched. @returns a function that ends it, for pods that come later */
function unfetched({ world }: Stage, isHit: (pod: Stored) => boolean): () => void {
  const { objects } = world.cluster;
  const waiting = { reason: "ImagePullBackOff", message: "429 Too Many Requests" };
  const status = { phase: "Pending", containerStatuses: [{ restartCount: 0, state: { waiting } }] };
  const put = objects.put.bind(objects);
  objects.put = (collection, object) =>
    put(collection, collection === "pods" && isHit(object as Stored) ? { ...object, status } : object);
  return () => (objects.put = put);
}
