import assert from "node:assert/strict";
import { join } from "node:path";
import { Site } from "./site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const up = ["up", "--yes", "--skip-preview", "--stack", "dev"];

describe("blue-green with a canary and a soak, end to end", function () {
  this.timeout(300_000);
  let site: Site;
  let blue: string[];

  before(async () => {
    site = await Site.create("127.86");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 4 });
    await site.up();
    await site.load({ replicas: 8 });
    await site.lab.call("POST /watcher/limits", { workers: { slots: 4, surge: 4, maxUnavailable: 1 } });
    blue = await site.vms("workers");
    const strategy = { kind: "blueGreen", canary: 1, soakSeconds: 600 };
    await site.configure({ "pools.0.image": newer, "pools.0.strategy": strategy });
  });

  after(async () => {
    await site.close();
  });

  const stateOf = async (image: string): Promise<string | undefined> =>
    (await site.record("workers")).generations.find(({ spec }) => spec.image === image)?.state;

  it("replaces the canary and stops", async () => {
    const said = await site.up();
    assert.match(said, /canary workers: .*4 slots, all new nodes first/);
    assert.match(said, /1 of 4 slots first; a run after their soak of 600 s goes on with the others/);
    const now = await site.vms("workers");
    assert.equal(now.length, 4);
    assert.deepEqual(now.filter((name) => !blue.includes(name)).length, 1);
    assert.equal(await stateOf(newer), "soaking");
    assert.deepEqual(await site.complaints(), []);
  });

  it("changes nothing while the canary soaks, and says how long that takes", async () => {
    const said = await site.unchanged();
    assert.match(said, /workers: 1 of 4 slots are on \w+ and soak, nothing to do/);
    assert.match(said, /soaks until 2\S+Z; a run after that goes on/);
  });

  it("goes on after the soak, and nobody leaves before everybody has come", async () => {
    await site.age("workers", 600);
    const before = await site.lab.status;
    const [latest] = (await site.lab.events()).slice(-1);
    // The VM of the last slot comes late: who does not wait for it shows.
    const last = "POST nodes/.*/qemu/1107/status/start";
    await site.lab.call("POST /faults", { kind: "latency", milliseconds: 3000, match: last });
    const { ended } = site.start(up);
    const came = async () =>
      (await site.lab.events(latest?.number)).some(({ text }) => /^demo-workers-3-\w+ joined$/.test(text));
    await Promise.race([site.until("the last of the new nodes to join", came), ended]);
    const then = await site.lab.status;
    const ran = await ended;
    assert.equal(ran.code, 0, ran.output);
    assert.match(ran.output, /the soak of \w+ ended at/);
    assert.equal(then.evicted, before.evicted, "pods were evicted before all new nodes had joined");
    assert.ok(then.vms.filter((vm) => blue.includes(vm.name) && vm.running).length === 3);
    await site.lab.call("DELETE /faults", undefined);
    assert.equal((await site.vms("workers")).filter((name) => !blue.includes(name)).length, 4);
    assert.equal(await stateOf(newer), "soaking");
    assert.deepEqual(await site.complaints(), []);
  });

  it("waits for a short soak inside the run, which then proves the generation", async () => {
    await site.configure({ "pools.0.strategy.soakSeconds": 2 });
    const said = await site.up();
    assert.match(said, /watching 4 nodes of generation \w+ for 2 s/);
    assert.equal(await stateOf(newer), "proved");
    assert.deepEqual(await site.complaints(), []);
  });

  it("finds nothing to do from another path and as another user, after a refresh", async () => {
    const HOME = join(site.project, "..", "another home");
    const other = await site.elsewhere({ HOME, USER: "somebody", LOGNAME: "somebody" });
    await other.expect(0, "refresh", "--yes", "--skip-preview", "--stack", "dev");
    await other.unchanged();
  });
});
