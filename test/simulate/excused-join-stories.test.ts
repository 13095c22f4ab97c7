import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

/** What keeps a new agent from joining, or from its slot, and says nothing about its image. */
describe("a new agent of a good image, in virtual time", function () {
  this.timeout(60_000);

  it("is not judged on a new Proxmox host that lacks the network, while its image serves on another one", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 2, canary: 1, soakSeconds: 3600 });
    const { dc, cluster, story, time } = stage.world;
    const { nodes } = cluster;
    const register = nodes.register.bind(nodes);
    const isAway = (name: string) => [...dc.vms.values()].some((vm) => vm.name === name && vm.host === "pve2");
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      for (const vm of dc.vms.values()) if (!vm.template) vm.host = "pve1";
      await time.sleep(3_700_000);
      nodes.register = (name, ...rest) => !isAway(name) && register(name, ...rest);
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /no node on the Proxmox host pve2 was heard: there is no other/);
      assert.doesNotMatch(generations(stage), /failed/);
      nodes.register = register;
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(story.violations, []);
  });

  for (const isDown of [false, true])
    it(`is ${isDown ? "" : "not "}judged for a startup taint that stays while its daemons are ${isDown ? "down" : "Ready"}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
      const { cluster, watcher } = stage.world;
      const { objects } = cluster;
      const [key, effect] = ["node.cilium.io/agent-not-ready", "NoExecute"];
      await stage.play(async () => {
        once(
          stage,
          "nodes",
          (node) => node.metadata.name === stage.nameOf(1102),
          (node) => {
            objects.put("nodes", { ...node, spec: { ...node.spec, taints: [{ key, effect }] } });
            if (isDown) watcher.touchedByFate(node.metadata.name);
          },
        );
        if (isDown) holdBack(stage, "rke2-canal", { reason: "CrashLoopBackOff" });
        const wish = { ...stage.agentsOf(1), pool: { startupTaints: [`${key}:${effect}`] } };
        assert.equal(await stage.up(wish), "failed");
        assert.match(stage.engine.why, /the startup taint node.cilium.io\/agent-not-ready:NoExecute was not removed/);
        assert.equal(generations(stage).includes("failed"), isDown);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  for (const [what, waiting, volumes, says] of [
    [
      "variable",
      { reason: "CreateContainerConfigError", message: 'secret "cni" not found' },
      [],
      'secret "cni" not found',
    ],
    [
      "volume",
      { reason: "ContainerCreating" },
      [{ name: "cni", secret: { secretName: "cni" } }],
      "Secret cni not found",
    ],
  ] as const)
    it(`is not judged for a daemon whose Secret, a ${what}, somebody has deleted`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
      await stage.play(async () => {
        holdBack(stage, "rke2-canal", waiting, volumes);
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(stage.engine.why, new RegExp(`its daemons lack their configuration: .*${says}`));
        assert.doesNotMatch(generations(stage), /failed/);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  it("is not judged when it gets no address, such as from a DHCP scope that is used up", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
    const { world } = stage;
    const { cluster } = world;
    await stage.play(async () => {
      const says = 'no default routes found in \\"/proc/net/route\\" or \\"/proc/net/ipv6_route\\"';
      const content = `time="2026-01-05T03:00:00Z" level=fatal msg="${says}"\n`;
      cluster.nodes.register = () => false;
      world.defect = (call) => {
        const isLog = call.path.endsWith("/agent/file-read") && call.query.get("file") === guest.log;
        return isLog ? { status: 200, body: JSON.stringify({ data: { content } }) } : world.honest(call);
      };
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /no default routes found/);
      assert.doesNotMatch(generations(stage), /failed/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  for (const soakSeconds of [0, 60])
    it(`is not judged for another machine that gets its name ${soakSeconds > 0 ? "in its soak" : "once it has joined"}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 2, soakSeconds });
      const { objects } = stage.world.cluster;
      const isTime = soakSeconds > 0 ? /soaking/ : /"phase\W+joined/;
      await stage.play(async () => {
        once(
          stage,
          "configmaps",
          ({ data }) => isTime.test(JSON.stringify(data ?? {})),
          () => {
            const node = objects.get("nodes", stage.nameOf(1102));
            const nodeInfo = {
              ...(node?.status?.nodeInfo as object),
              systemUUID: stage.world.dc.uuid(),
              bootID: "other",
            };
            if (node) objects.put("nodes", { ...node, status: { ...node.status, nodeInfo } });
          },
        );
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(stage.engine.why, /SMBIOS uuid/);
        assert.doesNotMatch(generations(stage), /failed/);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  for (const isOnOld of [true, false])
    it(`${isOnOld ? "joins" : "does not join"} without the pod of a DaemonSet that has no room on ${isOnOld ? "any node of its pool" : "it alone"}`, async () => {
      const nowhere = { name: "nowhere", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false };
      const stage = new Stage(stageImages(), { servers: 3, agents: 2, workloads: [{ ...nowhere, selector: "never" }] });
      const { objects } = stage.world.cluster;
      const status = { numberReady: 3, currentNumberScheduled: 5, desiredNumberScheduled: 5 };
      objects.put("daemonsets", {
        metadata: { name: "big", namespace: "logging" },
        spec: { template: { spec: {} } },
        status,
      });
      const uid = objects.get("daemonsets", "logging/big")?.metadata.uid ?? "";
      const bind = (node: string) => {
        const ownerReferences = [{ kind: "DaemonSet", name: "big", uid, controller: true }];
        const matchFields = [{ key: "metadata.name", operator: "In", values: [node] }];
        const required = { nodeSelectorTerms: [{ matchFields }] };
        const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } };
        const conditions = [{ type: "PodScheduled", status: "False", message: "Insufficient memory" }];
        const metadata = { name: `big-${node}`, namespace: "logging", labels: { app: "nowhere" }, ownerReferences };
        objects.put("pods", { metadata, spec: { affinity }, status: { phase: "Pending", conditions } });
      };
      await stage.play(async () => {
        if (isOnOld) for (const vmid of [1100, 1101]) bind(stage.nameOf(vmid));
        once(
          stage,
          "nodes",
          ({ metadata }) => metadata.name === stage.nameOf(1102),
          ({ metadata }) => bind(metadata.name),
        );
        assert.equal(await stage.up(stage.agentsOf(1)), isOnOld ? "done" : "failed", stage.engine.why);
        if (!isOnOld) assert.match(stage.engine.why, /DaemonSet logging\/big has no pod on it: Insufficient memory/);
        assert.doesNotMatch(generations(stage), /failed/);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });
});

/** Does something at the first change of an object that fits. */
function once({ world }: Stage, kind: string, fits: (one: Stored) => boolean, happens: (one: Stored) => void): void {
  let done = false;
  world.cluster.objects.onChange(({ collection, object, removed }) => {
    if (done || removed || collection !== kind || !fits(object)) return;
    done = true;
    happens(object);
  });
}

/** The pods of a DaemonSet wait on new agents. */
function holdBack({ world }: Stage, daemon: string, waiting: object, volumes: readonly object[] = []): void {
  const { objects } = world.cluster;
  const old = new Set(objects.list("nodes").map(({ metadata }) => metadata.name));
  const containerStatuses = [{ restartCount: 0, state: { waiting } }];
  const status = { phase: "Pending", conditions: [{ type: "Ready", status: "False" }], containerStatuses };
  const put = objects.put.bind(objects);
  objects.put = (collection, object) => {
    const { metadata, spec } = object as Stored;
    const isHit = collection === "pods" && metadata.labels?.daemon === daemon && !old.has(String(spec?.nodeName));
    return put(collection, isHit ? { ...object, spec: { ...spec, volumes }, status } : object);
  };
}

/** What is recorded of the generations of the pool of agents. */
function generations({ world }: Stage): string {
  return JSON.stringify(world.cluster.objects.get("configmaps", "evergreen-system/pool-workers")?.data ?? {});
}
