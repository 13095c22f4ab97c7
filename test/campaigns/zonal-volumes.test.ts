import assert from "node:assert/strict";
import { podAt, startOnZonalVolume } from "../e2e/local-volume.ts";
import { refused } from "../e2e/refusal.ts";
import { Site } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";

/** One server and two agents on the only host, which is a zone, and a program with a volume in that zone. */
describe("a volume of a zone, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.105");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "site.zones": { pve1: "a" } });
    await site.up();
    await startOnZonalVolume(site, "db", "a");
  });

  after(async () => {
    await site.close();
  });

  it("refuses the run that gives its zone another name", async () => {
    await site.configure({ "site.zones": { pve1: "b" } });
    await refused(site, [
      {
        what: /^.*a volume with data needs a node with topology\.kubernetes\.io\/zone=a: .* and after this run there is none: shop\/db-data \(10Gi\), used by shop\/db-/,
        where: /evergreen:(controlPlane|pools\[0\])\.localVolumes/,
        todo: /set localVolumes of the pool to keep/,
      },
    ]);
  });

  it("goes on by consent, and a rollout after it waits for no pod of the volume", async () => {
    await site.configure({ "localVolumes.whenNodesLeave": "keep", "pools.0.image": newer });
    const said = await site.up();
    assert.match(said, /after this run there is none: shop\/db-data .*no VM is kept for it/);
    const vms = (await site.lab.status).vms.filter(({ tags }) => tags.includes("eg-pool-workers"));
    assert.deepEqual(
      vms.map(({ running }) => running),
      [true, true],
    );
    assert.match((await podAt(site, "db", "Pending")).why, /volume node affinity|PersistentVolume's node affinity/);
    await site.unchanged();
  });
});
