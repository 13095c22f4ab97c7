import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { filesOf } from "../../src/clients/proxmox/guest-registries.ts";
import type { Registries } from "../../src/domain/model/registries.ts";
import { status as refusal } from "./fault-kinds.ts";
import { Stage, stageImages } from "./stage.ts";

const registriesWith = (password: string): Registries => ({
  configs: { "registry.example.org": { auth: { username: "puller", password } } },
});
const wrong = registriesWith("RKE2 does not start with this");
const right = registriesWith("RKE2 starts with this");

const digestOf = (registries: Registries): string => filesOf(registries).digest;
const loadedOn = (stage: Stage, vmid: number): string | undefined => stage.vm(vmid).disk.get(guest.registriesLoaded);

/** RKE2 of a node ends when it is told of the wrong ones, and starts when it is told of others. Static pods go on. */
function endsWithWrongOnes(stage: Stage, vmid: number): void {
  const { world } = stage;
  const { disk, guest: own, name } = stage.vm(vmid);
  assert.ok(own);
  const write = own.write.bind(own);
  let start: (() => void) | undefined;
  own.write = (file, content) => {
    if (file !== guest.registriesReload || content !== digestOf(wrong)) {
      write(file, content);
      if (file === guest.registriesReload) start?.();
      return;
    }
    disk.set(file, content);
    world.watcher.struck(name);
    start ??= world.cluster.nodes.stall(name);
  };
}

describe("registries that RKE2 does not start with, in virtual time", function () {
  this.timeout(60_000);

  for (const servers of [1, 3])
    it(`are replaced by the right ones on a server that has fallen for them, of ${servers}`, async () => {
      const stage = new Stage(stageImages(), { servers, agents: 1 });
      const { world } = stage;
      await stage.play(async () => {
        endsWithWrongOnes(stage, 1000);
        assert.equal(await stage.up({ ...stage.before, registries: wrong }), "failed");
        assert.match(stage.engine.why, /correct evergreen:registries.* run pulumi up: it is the first to get them/);
        await world.time.sleep(120_000);
        // RKE2 itself answers at the port of the supervisor.
        if (servers === 1)
          world.believes = ({ path }) =>
            path === "/db/info" && loadedOn(stage, 1000) === ""
              ? refusal(503, "ServiceUnavailable", "the supervisor is not there")
              : undefined;
        assert.equal(await stage.up({ ...stage.before, registries: right }), "done", stage.engine.why);
        assert.equal(loadedOn(stage, 1000), digestOf(right));
      });
      assert.deepEqual(world.story.violations, []);
    });

  for (const [pool, vmid] of [
    ["servers", 1000],
    ["workers", 1100],
  ] as const)
    for (const adopted of [false, true])
      it(`leave a node of ${pool} that comes back when they are taken out again${adopted ? ", beside adopted ones" : ""}`, async () => {
        const stage = new Stage(stageImages(), { servers: 3, agents: 2, adopted });
        await stage.play(async () => {
          endsWithWrongOnes(stage, vmid);
          assert.equal(await stage.up({ ...stage.before, registries: wrong }), "failed");
          assert.match(stage.engine.why, /correct evergreen:registries or put it back as it was, and run pulumi up/);
          await stage.world.time.sleep(120_000);
          assert.equal(await stage.up(stage.before), "done", stage.engine.why);
          assert.equal(loadedOn(stage, vmid), digestOf({}));
          assert.equal(await stage.up(stage.before), "done", stage.engine.why);
          assert.deepEqual(stage.engine.ran, []);
        });
        assert.deepEqual(stage.world.story.violations, []);
      });

  it("leave the nodes that run what they have when they are taken out", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    await stage.play(async () => {
      assert.equal(await stage.up({ ...stage.before, registries: right }), "done", stage.engine.why);
      endsWithWrongOnes(stage, 1100);
      assert.equal(await stage.up({ ...stage.before, registries: wrong }), "failed");
      // Its agent is silent while the run looks which node needs what.
      stage.vm(1100).guest?.hang(30_000);
      for (let outcome = "", runs = 0; outcome !== "done"; runs += 1) {
        assert.ok(runs < 2, stage.engine.why);
        outcome = await stage.up(stage.before);
      }
      assert.deepEqual(
        [1000, 1100, 1101, 1102].map((vmid) => loadedOn(stage, vmid)),
        [wrong, {}, right, right].map(digestOf),
      );
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
