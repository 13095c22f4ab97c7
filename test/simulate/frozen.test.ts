import assert from "node:assert/strict";
import { Stage, stageImages } from "./stage.ts";
import type { Call } from "./wire.ts";

/** Backups at night freeze the file systems of guests for some seconds. */
describe("guests that are frozen for a moment", function () {
  this.timeout(60_000);

  for (const [what, servers, wish] of [
    ["servers", 3, (stage: Stage) => stage.serversOf(1)],
    ["agents beside the only server", 1, (stage: Stage) => stage.agentsOf(1)],
  ] as const)
    it(`end no update, whoever of them is asked for a file: ${what}`, async () => {
      const stage = new Stage(stageImages(), { servers, agents: 2 });
      const { world } = stage;
      const struck = new Set<string>();
      await stage.play(async () => {
        world.defect = (call: Call) => {
          const vmid = Number(/\/qemu\/(\d+)\/agent\/file-read$/.exec(call.path)?.[1]);
          const guest = world.dc.vms.get(vmid)?.guest;
          const read = `${call.process.name} ${vmid} ${call.query.get("file") ?? ""}`;
          if (guest?.agentUp === true && !guest.frozen && !struck.has(read)) {
            struck.add(read);
            guest.frozen = true;
            world.time.after(4_000, () => (guest.frozen = false));
          }
          return world.honest(call);
        };
        assert.equal(await stage.up(wish(stage)), "done", stage.engine.why);
      });
      assert.ok(struck.size > 10, [...struck].join());
      assert.deepEqual(world.story.violations, []);
    });
});
