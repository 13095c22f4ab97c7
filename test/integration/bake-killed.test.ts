import assert from "node:assert/strict";
import type { BakeOrder } from "../../src/domain/images/bake.ts";
import { BakeStage } from "../support/bake-step.ts";
import { boundariesOf, isAt, told } from "../support/boundaries.ts";
import { bakeWithAgent, labBake } from "../lab/support/bake-site.ts";

describe("a bake that is killed", function () {
  this.timeout(600_000);
  let stage: BakeStage;

  before(async () => {
    stage = await BakeStage.start(28_408);
    await stage.lab.download(labBake());
    await stage.lab.download(bakeWithAgent());
  });
  afterEach(async () => stage.clear());
  after(async () => stage.stop());

  it("at any request, is taken up by the next run, which leaves one template and nothing else", async () => {
    const order = stage.order();
    const boundaries = await boundariesOf(stage, () => stage.bake(order));
    await stage.clear();
    assert.ok(boundaries.filter(({ moment }) => moment === "after").length >= 12, "all changes are among them");
    const [faults, missed]: [string[], string[]] = [[], []];
    for (const boundary of boundaries) {
      if (!(await stage.bakeKilled(order, isAt(boundary)))) missed.push(told(boundary));
      await stage.bake(order).catch((error: unknown) => faults.push(`${told(boundary)}: ${String(error)}`));
      const remains = JSON.stringify(stage.remains());
      if (remains !== '{"vms":["lab-image-v1.2.0"],"cds":[]}') faults.push(`${told(boundary)}: ${remains}`);
      await stage.clear();
    }
    assert.deepEqual(faults, []);
    // A read that only an earlier look at a slower guest had made.
    assert.ok(missed.length < boundaries.length / 10, missed.join("\n"));
  });

  it("while it takes a failed bake away, leaves nothing once the next run has failed too", async () => {
    const order: BakeOrder = stage.order({}, bakeWithAgent());
    const fail = () => (stage.lab.rack.bakeFaults = [{ fault: "fails", stage: "quiet" }]);
    fail();
    const boundaries = await boundariesOf(stage, () => assert.rejects(stage.bake(order)));
    const faults: string[] = [];
    for (const boundary of boundaries) {
      fail();
      await stage.bakeKilled(order, isAt(boundary)).catch(() => false);
      await assert.rejects(stage.bake(order), /the stage quiet of the bake failed/);
      const remains = JSON.stringify(stage.remains());
      if (remains !== '{"vms":[],"cds":[]}') faults.push(`${told(boundary)}: ${remains}`);
      await stage.clear();
    }
    assert.deepEqual(faults, []);
  });
});
