import assert from "node:assert/strict";
import { Site } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.2.0";

/** Three servers and two agents under load, driven by the engine. */
describe("a control plane that is replaced", function () {
  this.timeout(480_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.78");
    await site.configure({ "pools.0.slots": 2, "pools.0.strategy.surge": 1 });
    await site.lab.call("POST /faults", { kind: "template", vmid: 9003, version: "1.2.0", rke2: "v1.34.4+rke2r1" });
    await site.up();
    await site.load({ replicas: 4 });
  });

  after(async () => {
    await site.close();
  });

  const voters = async () => {
    const { members } = await site.lab.status;
    return members
      .filter(({ learner, healthy }) => healthy && !learner)
      .map(({ name }) => name.slice(0, -9))
      .sort();
  };

  it("does not begin without an etcd snapshot that holds", async () => {
    await site.configure({ "controlPlane.image": newer, "pools.0.image": newer });
    await site.lab.call("POST /faults", { kind: "snapshot", fault: "empty" });
    const before = (await site.lab.status).vms;
    assert.match(await site.fails(), /RequiresAttention: no etcd snapshot is proved, so no server comes or leaves: /);
    assert.deepEqual((await site.lab.status).vms, before);
    await site.lab.call("DELETE /faults", undefined);
  });

  it("rolls with its agents in one update: three members, four, three, and nobody notices", async () => {
    const preview = await site.expect(0, "preview", "--stack", "dev");
    assert.match(preview, /roll servers: .*image ubuntu-24.04-rke2-v1.1.0 -> v1.2.0.*, 3 slots/);
    assert.match(preview, /slot 2: demo-servers-2-\w+ comes .*; joins after slot 1/);
    const before = await site.vms("servers");
    assert.match(await site.up(), /the etcd snapshot evergreen-\S+ is proved: \d+ bytes/);
    const after = await site.vms("servers");
    assert.equal(after.length, 3);
    assert.ok(!after.some((name) => before.includes(name)), "every server is another one");
    assert.deepEqual(await voters(), after);
    assert.deepEqual(await site.complaints(), []);
    await site.unchanged();
  });

  it("keeps its members when a new server never becomes well, and holds", async () => {
    await site.configure({ "timeouts.joinSeconds": 10, "timeouts.agentSeconds": 10 });
    await site.lab.call("POST /faults", { kind: "template", vmid: 9004, version: "1.3.0", rke2: "v1.34.4+rke2r1" });
    await site.lab.call("POST /faults", { kind: "image", template: "ubuntu-24.04-rke2-v1.3.0", fault: "never-ready" });
    const before = await site.vms("servers");
    await site.configure({ "controlPlane.image": "ubuntu-24.04-rke2-v1.3.0" });
    assert.match(await site.fails(), /waiting for demo-servers-0-\w+ to be Ready/);
    for (const name of before) assert.ok((await voters()).includes(name), `${name} has left`);
    assert.match(await site.up(), /held servers: .*judged failed/s);
    assert.deepEqual(await site.vms("servers"), before);
    assert.deepEqual(await voters(), before);
    assert.deepEqual(await site.complaints(), []);
  });

  it("gets smaller, one member after the other", async () => {
    await site.configure({ "controlPlane.image": newer, "controlPlane.servers": 1 });
    const [first = ""] = await site.vms("servers");
    await site.up();
    assert.deepEqual(await site.vms("servers"), [first]);
    assert.deepEqual(await voters(), [first]);
    await site.unchanged();
  });
});
