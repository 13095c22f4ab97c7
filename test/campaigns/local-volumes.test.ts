import assert from "node:assert/strict";
import { podAt, startOnLocalVolume } from "../e2e/local-volume.ts";
import { refused } from "../e2e/refusal.ts";
import { Site } from "../e2e/site.ts";

const older = "ubuntu-24.04-rke2-v1.0.0";
const newer = "ubuntu-24.04-rke2-v1.1.0";
const destroy = ["destroy", "--yes", "--skip-preview", "--stack", "dev"];

/** One server and two agents, and a program whose data is on the disk of one of them. */
describe("data on a node alone, end to end", function () {
  this.timeout(300_000);
  let site: Site;
  /** The node of slot 0 as it was first, and its VM. */
  let old: { name: string; vmid: number };

  before(async () => {
    site = await Site.create("127.55");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "pools.0.strategy.surge": 1 });
    await site.up();
    const vm = (await workers()).find(({ name }) => name.startsWith("demo-workers-0-"));
    assert.ok(vm);
    old = vm;
    await startOnLocalVolume(site, "db", old.name);
  });

  after(async () => {
    await site.close();
  });

  const workers = async () => (await site.lab.status).vms.filter((vm) => vm.tags.includes("eg-pool-workers"));
  const vmOf = async (name: string) => (await workers()).find((vm) => vm.name === name);
  const nodes = async (): Promise<string[]> =>
    (await site.lab.status).nodes.map(({ name }) => name).filter((name) => name.startsWith("demo-workers-"));
  const keptIn = async () => (await site.record("workers")).nodes.flatMap(({ name, keeps }) => (keeps ? [name] : []));
  const week = 8 * 24 * 3600;

  it("refuses the rollout, and names claim, size, node and pod", async () => {
    await site.configure({ "pools.0.image": newer });
    await refused(site, [
      {
        what: new RegExp(
          `^.*${old.name} leaves, and a volume with data is on it alone: shop/db-data \\(10Gi\\), used by shop/db-`,
        ),
        where: /evergreen:pools\[0\]\.localVolumes/,
        todo: /set localVolumes of the pool to keep/,
      },
    ]);
    const preview = await site.pulumi(["preview", "--stack", "dev"]);
    assert.notEqual(preview.code, 0);
    assert.match(preview.output, /a volume with data is on it alone: shop\/db-data/);
    assert.equal((await podAt(site, "db", "Running")).node, old.name);
  });

  it("keeps the old VM, off, with consent; the run that retires its node does not destroy it", async () => {
    await site.configure({ "pools.0.localVolumes": "keep" });
    const said = await site.up();
    assert.match(
      said,
      new RegExp(`${old.name} leaves with data in volumes .* VM ${old.vmid} is kept, off, for 7 days`),
    );
    assert.equal((await nodes()).length, 2);
    assert.ok(!(await nodes()).includes(old.name));
    assert.deepEqual([(await vmOf(old.name))?.vmid, (await vmOf(old.name))?.running], [old.vmid, false]);
    assert.equal((await workers()).length, 3, "the old VM of the other slot is gone");
    assert.match((await podAt(site, "db", "Pending")).why, /volume node affinity|PersistentVolume's node affinity/);
  });

  it("finds nothing to do in the run after that, and says until when the VM is kept", async () => {
    await site.unchanged();
    assert.equal((await vmOf(old.name))?.running, false);
    const { output, code } = await site.evergreen("status", "--stack", "dev");
    assert.equal(code, 0, output);
    assert.match(output, new RegExp(`${old.name} has left; its VM ${old.vmid} is kept, off, for its data until 2`));
    const ran = await site.evergreen("up", "--stack", "dev");
    assert.equal(ran.code, 0, ran.output);
    assert.equal((await vmOf(old.name))?.running, false);
  });

  it("brings the same VM back with its data when the pool returns to what it was", async () => {
    await site.configure({ "pools.0.image": older });
    await site.up();
    assert.deepEqual([(await vmOf(old.name))?.vmid, (await vmOf(old.name))?.running], [old.vmid, true]);
    assert.equal((await podAt(site, "db", "Running")).node, old.name);
    await site.unchanged();
    assert.deepEqual(await keptIn(), [], "it serves again, so nothing of it is kept");
  });

  it("keeps it also when the engine is killed before the end of the run, and in the run that goes on", async () => {
    await site.configure({ "pools.0.image": newer });
    const { child, ended } = site.start(["up", "--yes", "--skip-preview", "--stack", "dev"]);
    await site.until("the node to be off", async () => (await vmOf(old.name))?.running === false);
    child.kill("SIGKILL");
    await ended;
    const repaired = await site.evergreen("repair", "--stack", "dev");
    assert.equal(repaired.code, 0, repaired.output);
    await site.up();
    assert.equal((await vmOf(old.name))?.running, false);
    assert.deepEqual(await keptIn(), [old.name]);
  });

  it("destroys it in the first run after its time, which names it", async () => {
    await site.age("workers", week);
    const preview = await site.expect(0, "preview", "--stack", "dev");
    const line = new RegExp(
      `${old.name} was kept for its data, and its time is over: VM ${old.vmid} is destroyed at the end of this run, with shop/db-data`,
    );
    assert.match(preview, line);
    assert.match(await site.up(), line);
    assert.equal(await vmOf(old.name), undefined);
    assert.deepEqual(await keptIn(), []);
    await site.unchanged();
  });

  it("refuses a scale-in and a removed pool alike, and keeps the VM by the word for all pools", async () => {
    const [last = ""] = (await nodes()).filter((name) => name.startsWith("demo-workers-1-"));
    await startOnLocalVolume(site, "cache", last);
    const vmid = (await vmOf(last))?.vmid ?? 0;
    const where = /evergreen:pools\[0\]\.localVolumes/;
    await site.configure({ "pools.0.localVolumes": "refuse", "pools.0.slots": 1 });
    await refused(site, [{ what: /shop\/cache-data \(10Gi\)/, where, todo: /localVolumes/ }]);
    await site.configure({ "pools.0": undefined });
    await refused(site, [
      { what: /shop\/cache-data/, where: /evergreen:localVolumes\.whenNodesLeave/, todo: /localVolumes/ },
    ]);
    await site.configure({ localVolumes: { whenNodesLeave: "keep", keepDays: 0 } });
    await site.up();
    assert.deepEqual(await nodes(), []);
    assert.deepEqual(
      (await workers()).map((vm) => [vm.vmid, vm.running]),
      [[vmid, false]],
      "not even with 0 days in the same run",
    );
    const ran = await site.pulumi(["preview", "--stack", "dev"]);
    assert.match(ran.output, new RegExp(`VM ${vmid} is destroyed at the end of this run, with shop/cache-data`));
  });

  it("takes kept VMs along when the whole cluster is destroyed", async () => {
    await site.configure({ localVolumes: { whenNodesLeave: "keep" }, allowDestroy: true });
    await site.up();
    assert.equal((await workers()).length, 1);
    await site.expect(0, ...destroy);
    assert.deepEqual(
      (await site.lab.status).vms.filter((vm) => !vm.template),
      [],
    );
  });
});
