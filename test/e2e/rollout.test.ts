import assert from "node:assert/strict";
import { Site } from "./site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const older = "ubuntu-24.04-rke2-v1.0.0";

describe("a cluster, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.70");
    await site.configure({ "pools.0.slots": 4 });
    await site.up();
    await site.load({ replicas: 8 });
  });

  after(async () => {
    await site.close();
  });

  it("was created, and an update after it changes nothing, also after a refresh", async () => {
    assert.equal((await site.vms("servers")).length, 3);
    assert.equal((await site.vms("workers")).length, 4);
    await site.unchanged();
    await site.expect(0, "refresh", "--yes", "--skip-preview", "--stack", "dev");
    await site.unchanged();
  });

  it("rolls its agents under load without a failed request, and finds nothing to do afterwards", async () => {
    const before = await site.vms("workers");
    await site.configure({ "pools.0.image": newer });
    await site.up();
    const after = await site.vms("workers");
    assert.equal(after.length, 4);
    assert.ok(!after.some((name) => before.includes(name)));
    assert.deepEqual(await site.complaints(), []);
    await site.unchanged();
  });

  it("goes back by the last good commit", async () => {
    const ran = await site.evergreen("rollback", "--stack", "dev", "--yes");
    assert.equal(ran.code, 0, ran.output);
    assert.deepEqual(await site.complaints(), []);
    await site.configure({ "pools.0.image": older });
    await site.unchanged();
  });
});
