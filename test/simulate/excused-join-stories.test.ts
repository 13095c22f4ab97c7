import assert from "node:assert/strict";
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
});

/** What is recorded of the generations of the pool of agents. */
function generations({ world }: Stage): string {
  return JSON.stringify(world.cluster.objects.get("configmaps", "evergreen-system/pool-workers")?.data ?? {});
}
