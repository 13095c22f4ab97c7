import assert from "node:assert/strict";
import { verbs } from "../../src/steps/verbs.ts";
import { proxmox } from "./engine.ts";
import { Stage, stageImages } from "./stage.ts";

describe("a cluster whose servers' VMs are all gone, in virtual time", function () {
  this.timeout(60_000);

  it("is given up as its messages say: once the VMs of its agents are deleted by hand, a destroy has nothing to ask", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, allowDestroy: true });
    const { world, engine, before } = stage;
    const { dc, time } = world;
    await stage.play(async () => {
      const name = stage.nameOf(1100);
      const lose = async (vmid: number) => {
        stage.cutPower(vmid);
        dc.vms.delete(vmid);
        await time.sleep(60_000);
      };
      /** What the engine asks before it destroys the VM of the agent. */
      const letGo = async (verb: "retire" | "release") => {
        const { step } = engine.state.copy().get(`${name}-${verb === "retire" ? "join" : "claim"}`) ?? {};
        const run = verbs[verb];
        assert.ok(step && run);
        const process = world.process(`${verb}-${name}`);
        const context = {
          pve: proxmox(),
          id: process.id,
          stop: process.stop,
          abandon: () => undefined,
          mayTearDown: true,
          previous: step.stdout,
        };
        return await process.run(() => run(context, step.environment));
      };
      await lose(1000);
      assert.equal(await stage.up(before), "refused");
      assert.match(engine.why, /to give the cluster up: docs\/recovery.md, "Give up a cluster that does not answer"/);
      const refused = await letGo("retire");
      assert.ok(refused.how === "failed" && stage.vm(1100).running);
      assert.match(String(refused.error), /no VM of a server is seen.* delete this VM in Proxmox VE too/s);
      await lose(1100);
      for (const verb of ["retire", "release"] as const) assert.equal((await letGo(verb)).how, "done", verb);
    });
  });
});
