import assert from "node:assert/strict";
import { isSchedulable } from "./nodes.ts";
import { Stage, stageImages } from "./stage.ts";

const day = 86_400_000;

/** Disks that somebody attaches to the VMs of nodes in Proxmox VE, and that Proxmox destroys with them. */
describe("a disk that somebody has attached to the VM of a node, in virtual time", function () {
  this.timeout(60_000);

  for (const name of ["scsi1", "unused0"])
    it(`refuses the run that would destroy it, as ${name}, until it is somewhere else`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
      await stage.play(async () => {
        attach(stage, 1100, name);
        assert.equal(await stage.up(stage.agentsOf(1)), "refused");
        assert.match(
          stage.engine.why,
          new RegExp(
            `demo-workers-0-.* leaves, and disks that somebody has attached .*: ${name} \\(local:1100/vm-1100`,
          ),
        );
        assert.ok(serves(stage, 1100) && stage.vm(1101).running);
        stage.vm(1100).attached.clear();
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  it("is named, and kept with the VM, where the configuration says so, until the time for it is over", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, keepDays: 7 });
    const { dc, time, watcher } = stage.world;
    await stage.play(async () => {
      attach(stage, 1100);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      const says = /VM 1100 is kept, off, for 7 days .*disks that somebody has attached to its VM: scsi1 \(.*, 500G\)/;
      assert.match(words(stage), says);
      assert.equal(stage.vm(1100).running, false);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.ok(dc.vms.has(1100));
      await time.sleep(8 * day);
      watcher.onDestroyed = () => undefined;
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.ok(!dc.vms.has(1100));
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("keeps its node when it comes after the plan", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { dc } = stage.world;
    await stage.play(async () => {
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => dc.vms.get(1102)?.running === true);
      attach(stage, 1100);
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /demo-workers-0-.* leaves, and disks .*: scsi1 .*With that consent run pulumi up/);
      assert.ok(serves(stage, 1100));
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("keeps the VM when it comes after its node has left", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { dc, cluster } = stage.world;
    await stage.play(async () => {
      const name = stage.nameOf(1100);
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => cluster.objects.get("nodes", name) === undefined);
      attach(stage, 1100);
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /demo-workers-0-.* leaves, and disks that somebody has attached/);
      assert.ok(dc.vms.has(1100));
      assert.equal(await stage.up(stage.agentsOf(1)), "refused");
      const keeps = { ...stage.agentsOf(1), pool: { localVolumes: "keep" } };
      assert.equal(await stage.up(keeps), "done", stage.engine.why);
      assert.ok(dc.vms.has(1100));
      assert.equal(await stage.up(keeps), "done", stage.engine.why);
      assert.ok(dc.vms.has(1100));
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is no matter for the VM of an adopted node, which is handed back", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, adopted: true });
    await stage.play(async () => {
      attach(stage, 1100);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.equal(stage.vm(1100).running, false);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

function attach(stage: Stage, vmid: number, name = "scsi1"): void {
  const vm = stage.vm(vmid);
  vm.attached.set(name, `local:${vmid}/vm-${vmid}-disk-1.qcow2,size=500G`);
  vm.revision += 1;
}

function serves(stage: Stage, vmid: number): boolean {
  const node = stage.world.cluster.objects.get("nodes", stage.nameOf(vmid));
  return stage.vm(vmid).running && node !== undefined && isSchedulable(node);
}

const words = ({ engine }: Stage): string => engine.clusterPlan?.pools.flatMap((one) => one.words).join("\n") ?? "";
