import assert from "node:assert/strict";
import type { Guest } from "./guest.ts";
import { Stage, stageImages } from "./stage.ts";
import type { Call } from "./wire.ts";

/** Backups at night freeze the file systems of guests for some seconds, and the agent of a busy guest answers late. */
describe("guests whose agents do nothing for a moment", function () {
  this.timeout(60_000);

  const strikes: [what: string, strike: (guest: Guest, stage: Stage) => void][] = [
    [
      "frozen",
      (guest, { world }) => {
        guest.frozen = true;
        world.time.after(4_000, () => (guest.frozen = false));
      },
    ],
    ["silent", (guest) => guest.hang(4_000)],
  ];
  for (const [how, strike] of strikes)
    for (const [what, servers, wish] of [
      ["servers", 3, (stage: Stage) => stage.serversOf(1)],
      ["agents beside the only server", 1, (stage: Stage) => stage.agentsOf(1)],
    ] as const)
      it(`end no update, whichever file is asked for: ${what}, ${how}`, async () => {
        const stage = new Stage(stageImages(), { servers, agents: 2 });
        const { world } = stage;
        const struck = new Set<string>();
        await stage.play(async () => {
          world.defect = (call: Call) => {
            const [, vmid, kind] = /\/qemu\/(\d+)\/agent\/file-(\w+)$/.exec(call.path) ?? [];
            const guest = world.dc.vms.get(Number(vmid))?.guest;
            const file = call.query.get("file") ?? new URLSearchParams(call.body).get("file") ?? "";
            const [verb = ""] = call.process.name.split("-", 1);
            const asked = `${verb} ${vmid ?? ""} ${kind ?? ""} ${file}`;
            if (guest?.agentUp === true && !guest.frozen && !struck.has(asked)) {
              struck.add(asked);
              strike(guest, stage);
            }
            return world.honest(call);
          };
          assert.equal(await stage.up(wish(stage)), "done", stage.engine.why);
        });
        assert.ok(struck.size > 10, [...struck].join());
        assert.deepEqual(world.story.violations, []);
      });
});
