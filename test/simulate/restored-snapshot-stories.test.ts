import assert from "node:assert/strict";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

/** The record and the agents' Nodes of an etcd snapshot, on servers that were there when it was made. */
describe("an etcd snapshot from before its nodes' numbers went to others, in virtual time", function () {
  this.timeout(60_000);

  /** Four rollouts use the numbers of the pool once. */
  const [agents, rollouts] = [10, 4];
  const isAgent = ({ name }: { name: string }): boolean => name.includes("-workers-");

  const parts = ({ world: { cluster } }: Stage): { maps: Stored[]; nodes: Stored[] } => ({
    maps: cluster.objects.list("configmaps").filter(({ metadata }) => metadata.namespace === "evergreen-system"),
    nodes: cluster.objects.list("nodes").filter(({ metadata }) => isAgent(metadata)),
  });

  const restore = (stage: Stage, { maps, nodes }: ReturnType<typeof parts>): void => {
    const { objects } = stage.world.cluster;
    const now = parts(stage);
    for (const { metadata } of now.maps) objects.remove("configmaps", `evergreen-system/${metadata.name}`);
    for (const { metadata } of now.nodes) objects.remove("nodes", metadata.name);
    for (const map of maps) objects.put("configmaps", map);
    for (const node of nodes) {
      const conditions = node.status?.conditions as { type: string; status: string }[];
      const silent = conditions.map((one) => (one.type === "Ready" ? { ...one, status: "Unknown" } : one));
      objects.put("nodes", { ...node, status: { ...node.status, conditions: silent } });
    }
  };

  for (const isRestarted of [true, false])
    it(`is recovered by repair and up${isRestarted ? ", with the agents restarted" : ""}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents, maxUnavailable: 5 });
      const { world, engine } = stage;
      const vms = () => [...world.dc.vms.values()].filter(isAgent);
      await stage.play(async () => {
        const wish = (rollout: number) => ({ ...stage.before, rollout });
        const snapshot = structuredClone(parts(stage));
        const then = vms();
        for (let rollout = 1; rollout <= rollouts; rollout += 1)
          assert.equal(await stage.up(wish(rollout)), "done", engine.why);
        for (const { vmid, name } of then) assert.notEqual(stage.nameOf(vmid), name);
        restore(stage, snapshot);
        await world.time.sleep(120_000);
        const now = vms();
        if (isRestarted)
          for (const vm of now) {
            stage.cutPower(vm.vmid);
            world.dc.powerOn(vm);
          }
        await world.time.sleep(120_000);
        assert.equal(await stage.up(wish(rollouts)), "refused");
        assert.match(engine.why, /the VM of Node demo-workers-\d-\w+ is gone.*`evergreen repair` heals it/);
        const { why, said } = await stage.mend({}, { wish: wish(rollouts) });
        assert.equal(why, "");
        assert.equal(said.length, agents);
        for (const line of said)
          assert.match(line, /is gone, and it was not retired -> deleted the Node demo-workers-/);
        assert.equal(await stage.up(wish(rollouts)), "done", engine.why);
        assert.deepEqual(
          now.filter((vm) => world.dc.vms.get(vm.vmid) !== vm),
          [],
        );
      });
    });
});
