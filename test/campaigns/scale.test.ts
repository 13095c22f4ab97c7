import assert from "node:assert/strict";
import { refused } from "../e2e/refusal.ts";
import { Site } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const older = "ubuntu-24.04-rke2-v1.0.0";
const next = "ubuntu-24.04-rke2-v2.0.0";
const destroy = ["destroy", "--yes", "--skip-preview", "--stack", "dev"];

describe("a cluster that grows, shrinks and goes, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.88");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 4, allowDestroy: false });
  });

  after(async () => {
    await site.close();
  });

  const nodes = async (): Promise<string[]> => (await site.lab.status).nodes.map(({ name }) => name).sort();

  const healthy = async (): Promise<void> => {
    assert.deepEqual(await site.complaints(), []);
    assert.deepEqual(await nodes(), [
      ...(await site.vms("servers")),
      ...(await site.vms("spare")),
      ...(await site.vms("workers")),
    ]);
  };

  it("tries a first creation again that failed, also after a destroy that nothing has allowed yet", async () => {
    await site.lab.call("POST /faults", { kind: "image", template: older, fault: "wrong-kubelet" });
    assert.match(await site.fails(), /registered and is not what it has to be/);
    const ran = await site.pulumi(destroy);
    assert.notEqual(ran.code, 0, ran.output);
    assert.match(ran.output, /demo-servers-0-\w+ is a server of a cluster that stays, and is not taken out of etcd/);
    assert.match(ran.output, /let pulumi up succeed/);
    await site.lab.call("DELETE /faults", undefined);
    await site.up();
    assert.equal((await site.vms("workers")).length, 4);
    await site.load({ replicas: 8 });
    await healthy();
  });

  it("refuses what would replace the only server", async () => {
    await site.configure({ "controlPlane.image": older });
    await refused(site, [
      {
        what: /this would replace the only server demo-servers-0-/,
        where: /evergreen:controlPlane/,
        todo: /replaceOnlyServer/,
      },
    ]);
    await site.configure({ "controlPlane.image": newer });
    await healthy();
  });

  it("refuses agents that are newer than the servers", async () => {
    await site.lab.call("POST /faults", { kind: "template", vmid: 9003, version: "2.0.0", rke2: "v1.35.0+rke2r1" });
    await site.configure({ "pools.0.image": next });
    await refused(site, [
      {
        what: /rke2-v2\.0\.0 cannot be used for agents: agents with v1\.35\.0\+rke2r1 would be newer than a server/,
        where: /pool workers, image/,
        todo: /servers go first/,
      },
    ]);
    await site.configure({ "pools.0.image": older });
    await healthy();
  });

  it("grows by two slots, and by a second pool", async () => {
    const before = await site.vms("workers");
    const spare = {
      name: "spare",
      image: older,
      slots: 1,
      cores: 2,
      memoryMiB: 2048,
      diskGiB: 20,
      vmIds: { first: 1040, last: 1059 },
      firstAddress: "127.88.0.51",
      labels: { "example.org/spare": "true" },
    };
    await site.configure({ "pools.0.slots": 6, "pools.1": spare });
    const said = await site.up();
    assert.match(said, /scale workers: 6 slots of \w+, 0 nodes leave, 2 come/);
    assert.match(said, /create spare: /);
    const after = await site.vms("workers");
    assert.equal(after.length, 6);
    assert.deepEqual(
      before.filter((name) => !after.includes(name)),
      [],
    );
    assert.equal((await site.vms("spare")).length, 1);
    await healthy();
    // More pods, so that the new nodes serve too.
    await site.load({ replicas: 16 });
  });

  it("shrinks by two slots, and by a pool that left the configuration, all of them drained", async () => {
    const { evicted } = await site.lab.status;
    await site.configure({ "pools.0.slots": 4, "pools.1": undefined });
    const said = await site.up();
    assert.match(said, /scale workers: 4 slots of \w+, 2 nodes leave, 0 come/);
    assert.match(said, /remove spare: it left the configuration, 1 nodes leave/);
    assert.deepEqual(
      (await site.vms("workers")).map((name) => name.split("-")[2]),
      ["0", "1", "2", "3"],
    );
    assert.deepEqual(await site.vms("spare"), []);
    assert.ok((await site.lab.status).evicted > evicted, "nobody was drained");
    await healthy();
    await site.unchanged();
  });

  it("lets a pool come back under the name of the one that was removed", async () => {
    const spare = { name: "spare", image: older, slots: 1, memoryMiB: 2048, diskGiB: 20 };
    await site.configure({ "pools.1": { ...spare, vmIds: { first: 1040, last: 1059 }, firstAddress: "127.88.0.51" } });
    await site.up();
    assert.equal((await site.vms("spare")).length, 1);
    await healthy();
  });

  it("refuses to be destroyed unless the last update allowed it", async () => {
    const before = await nodes();
    const ran = await site.pulumi(destroy);
    assert.notEqual(ran.code, 0, ran.output);
    assert.match(ran.output, /the cluster demo may not be destroyed/);
    assert.match(ran.output, /where: evergreen:allowDestroy, as of the last update of this stack/);
    assert.match(ran.output, /do: {4}set it to true, run pulumi up, then pulumi destroy\. Nothing was destroyed/);
    assert.deepEqual(await nodes(), before);
    await healthy();
    await site.unchanged();
  });

  it("is taken away as a whole, without draining anybody", async () => {
    await site.configure({ allowDestroy: true });
    await site.up();
    await healthy();
    const { evicted } = await site.lab.status;
    await site.expect(0, ...destroy);
    const status = await site.lab.status;
    assert.equal(status.evicted, evicted);
    assert.deepEqual(
      status.vms.filter((vm) => !vm.template),
      [],
    );
    const { resources = [] } = await site.state();
    assert.deepEqual(resources, []);
  });
});

describe("a cluster whose first update fails, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.56");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, allowDestroy: true });
  });

  after(async () => {
    await site.close();
  });

  it("is taken away by the first destroy that is allowed, also without the guard that comes with a success", async () => {
    await site.lab.call("POST /faults", { kind: "image", template: older, fault: "wrong-kubelet" });
    assert.match(await site.fails(), /registered and is not what it has to be/);
    const { resources: made = [] } = await site.state();
    assert.ok(!made.some(({ urn }) => urn.endsWith("::demo-guard")));
    await site.expect(0, ...destroy);
    assert.deepEqual(
      (await site.lab.status).vms.filter((vm) => !vm.template),
      [],
    );
    assert.deepEqual((await site.state()).resources ?? [], []);
  });
});
