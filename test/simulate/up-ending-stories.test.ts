import assert from "node:assert/strict";
import { readClusterStatus } from "../../cli/up.ts";
import { outcomeOf, type Ending } from "../../src/domain/rollout/outcome.ts";
import { observeCluster } from "../../src/observe/observed-cluster.ts";
import { proxmox } from "./engine.ts";
import { configOf, type Wish } from "./scenario.ts";
import { Stage, stageImages } from "./stage.ts";

/** How `evergreen up` would end now. */
async function endingOf(stage: Stage, wish: Wish): Promise<Ending> {
  const ending = await stage.world.process("up").run(async () => {
    const [pve, config] = [proxmox(), configOf(stage.scenario, wish)];
    const { plans, servers } = await readClusterStatus({ pve, config, observed: await observeCluster(pve, config) });
    assert.equal(servers, undefined);
    return outcomeOf(plans, plans);
  });
  assert.ok(ending.how === "done");
  return ending.value;
}

describe("the end of evergreen up, in virtual time", function () {
  this.timeout(60_000);

  it("is not done while a node runs with other registries than the configured ones", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    const auth = { username: "puller", password: "new" };
    const wish = { ...stage.before, registries: { configs: { "registry.example.org": { auth } } } };
    await stage.play(async () => {
      const reason = "Agent error: failed to open file (mode: 'wb'): Read-only file system";
      world.defect = (call) =>
        call.process.name.startsWith("registries-") && call.path.endsWith("/1100/agent/file-write")
          ? { status: 500, reason, body: JSON.stringify({ data: null }) }
          : world.honest(call);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      const { outcome, open } = await endingOf(stage, wish);
      assert.equal(outcome, "failed");
      assert.match(open.join("\n"), /demo-workers-0-\w+: the registries change in place/);
      world.defect = undefined;
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.equal((await endingOf(stage, wish)).outcome, "done");
    });
    assert.deepEqual(world.story.violations, []);
  });
});
