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

/** RKE2 of no node starts that has the wrong ones when it is told to join. */
function startsWithout({ world: { dc } }: Stage, given: Registries): void {
  const { inhabit } = dc;
  dc.inhabit = (vm) => {
    inhabit(vm);
    const { disk, guest: own } = vm;
    const write = own?.write.bind(own);
    if (!own || !write) return;
    own.write = (file, content) => {
      const isRead = disk.get(guest.join)?.includes(guest.registries) === true;
      if (file === guest.marker && content !== "" && isRead && disk.get(guest.registries) === filesOf(given).yaml)
        disk.set(file, content);
      else write(file, content);
    };
  };
}

/** Images of which the first one promises no unit for registries. */
const imagesWithUnit = () => stageImages().map((image, at) => (at === 0 ? { ...image, units: [] } : image));

const isJudged = ({ world }: Stage, pool: string): boolean =>
  JSON.stringify(world.cluster.objects.get("configmaps", `evergreen-system/pool-${pool}`)?.data).includes(
    '\\"state\\":\\"failed\\"',
  );

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

  it("are not held against a generation that soaks, by the runs after the one that brought them", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3, canary: 1, soakSeconds: 100_000 });
    await stage.play(async () => {
      const good = { ...stage.agentsOf(1), registries: right };
      assert.equal(await stage.up(good), "done", stage.engine.why);
      endsWithWrongOnes(stage, 1103);
      assert.equal(await stage.up({ ...good, registries: wrong }), "failed");
      assert.match(stage.engine.why, /did not come back with the configured registries.*No image was judged/);
      for (const registries of [wrong, undefined]) {
        // Nothing can be written to it: also without the key it stays as it is.
        stage.world.defect = (call) =>
          registries === undefined && call.path.endsWith("/1103/agent/file-write")
            ? { status: 500, reason: "Agent error: Read-only file system", body: JSON.stringify({ data: null }) }
            : stage.world.honest(call);
        assert.equal(await stage.up({ ...stage.agentsOf(1), ...(registries && { registries }) }), "failed");
        assert.equal(isJudged(stage, "workers"), false, stage.engine.why);
      }
      stage.world.defect = (call) => stage.world.honest(call);
      assert.equal(await stage.up(good), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  for (const pool of ["workers", "servers"] as const)
    for (const [what, corrected] of [
      ["corrected", right],
      ["taken out", undefined],
    ] as const)
      it(`are not held against new ${pool}, the first ones to get them, which serve once they are ${what}`, async () => {
        const stage = new Stage(imagesWithUnit(), { servers: 3, agents: 2 });
        startsWithout(stage, wrong);
        await stage.play(async () => {
          const wish = pool === "workers" ? stage.agentsOf(1) : stage.serversOf(1);
          assert.equal(await stage.up({ ...wish, registries: wrong }), "failed");
          assert.match(stage.engine.why, /no node has started with its registries yet.*correct evergreen:registries/);
          assert.equal(isJudged(stage, pool), false);
          const next = { ...wish, ...(corrected && { registries: corrected }) };
          assert.equal(await stage.up(next), "done", stage.engine.why);
          const first = pool === "workers" ? 1102 : 1003;
          assert.equal(loadedOn(stage, first), corrected ? digestOf(corrected) : "");
        });
        assert.deepEqual(stage.world.story.violations, []);
      });

  it("excuse no image that never starts RKE2, when other nodes have started with them", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    await stage.play(async () => {
      assert.equal(await stage.up({ ...stage.before, registries: right }), "done", stage.engine.why);
      startsWithout(stage, right);
      assert.equal(await stage.up({ ...stage.agentsOf(1), registries: right }), "failed");
      assert.equal(isJudged(stage, "workers"), true, stage.engine.why);
    });
  });

  it("are not held against a node whose RKE2 restarts for others in its soak, told long before", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, soakSeconds: 60 });
    const { world } = stage;
    let isStruck = false;
    await stage.play(async () => {
      world.cluster.objects.onChange(({ collection, object }) => {
        if (isStruck || collection !== "configmaps" || !JSON.stringify(object).includes("unwatched")) return;
        isStruck = true;
        const { disk, name } = stage.vm(1102);
        disk.set(guest.registriesReload, digestOf(right));
        disk.set(guest.registriesLoaded, "");
        world.time.after(10_000, () => {
          world.watcher.struck(name);
          const goesOn = world.cluster.nodes.stall(name);
          world.time.after(60_000, () => {
            goesOn();
            disk.set(guest.registriesLoaded, digestOf(right));
          });
        });
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /was disturbed.*told to restart for other registries/);
      assert.equal(isJudged(stage, "workers"), false);
    });
    assert.ok(isStruck);
  });
});
