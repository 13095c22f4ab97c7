import assert from "node:assert/strict";
import type { GenerationRecord } from "../../src/domain/model/types.ts";
import { Site } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const older = "ubuntu-24.04-rke2-v1.0.0";
const joinSeconds = "timeouts.joinSeconds";

describe("verdicts, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.87");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 3, "pools.0.strategy.surge": 1 });
    await site.up();
    await site.load({ replicas: 6 });
    await site.lab.call("POST /watcher/limits", { workers: { slots: 3, surge: 1, maxUnavailable: 1 } });
  });

  after(async () => {
    await site.close();
  });

  afterEach(async () => {
    await site.lab.call("DELETE /faults", undefined);
  });

  const faulty = (fault: "never-ready" | "wrong-kubelet") =>
    site.lab.call("POST /faults", { kind: "image", template: newer, fault });

  const generation = async (of: Partial<GenerationRecord["spec"]>): Promise<GenerationRecord | undefined> =>
    (await site.record("workers")).generations.find(({ spec }) =>
      Object.entries(of).every(([key, value]) => spec[key as keyof typeof spec] === value),
    );

  const serving = async (): Promise<string[]> => {
    const { vms, nodes } = await site.lab.status;
    const serves = new Set(nodes.filter((node) => node.ready && node.schedulable).map(({ name }) => name));
    return vms
      .filter((vm) => vm.running && serves.has(vm.name) && vm.tags.includes("eg-pool-workers"))
      .map(({ name }) => name)
      .sort();
  };

  /** An update whose first slot is handed over, and whose second meets an image that lies about its kubelet. */
  const failsInTheMiddle = async (): Promise<string> => {
    const old = await serving();
    const { ended } = site.start(["up", "--yes", "--skip-preview", "--stack", "dev"]);
    const came = async (): Promise<boolean> => (await serving()).some((name) => !old.includes(name));
    await Promise.race([site.until("the first new node", came), ended]);
    await faulty("wrong-kubelet");
    const ran = await ended;
    assert.notEqual(ran.code, 0, ran.output);
    const now = await serving();
    assert.equal(
      now.filter((name) => old.includes(name)).length,
      2,
      `slots 1 and 2 serve as before: ${now.join(", ")}`,
    );
    return ran.output;
  };

  it("fails on nodes that never get Ready: the old ones serve on, and the record says why", async () => {
    const old = await site.vms("workers");
    await faulty("never-ready");
    await site.configure({ "pools.0.image": newer, [joinSeconds]: 6 });
    const said = await site.fails();
    assert.match(said, /demo-workers-0-\w+ to be Ready/);
    assert.deepEqual(await serving(), old);
    const failed = await generation({ image: newer });
    assert.equal(failed?.state, "failed");
    assert.match(failed.why ?? "", /^demo-workers-0-\w+: .*Ready/);
    assert.deepEqual(await site.disturbances(), []);
  });

  it("holds in the next update: it succeeds, says why and what to do, and clears what was incomplete", async () => {
    const said = await site.up();
    assert.match(said, /held workers: slots stay as they are, \w+ is wanted/);
    assert.match(said, /was judged failed at \S+: demo-workers-0-\w+: /);
    assert.match(said, /to go on: change the pool's content, or raise its `rollout` counter/);
    assert.deepEqual(await site.vms("workers"), await serving());
    assert.equal((await serving()).length, 3);
    assert.equal((await generation({ image: older }))?.state, "proved");
    assert.deepEqual(await site.complaints(), []);
    assert.match(await site.unchanged(), /held workers/);
  });

  it("rolls from A over a failed B to C, and leaves nothing of B", async () => {
    await site.configure({ "pools.0.rollout": 1, [joinSeconds]: 60 });
    const said = await failsInTheMiddle();
    assert.match(said, /registered and is not what it has to be/);
    const failed = await generation({ image: newer, rollout: 1 });
    assert.equal(failed?.state, "failed");
    assert.match(failed.why ?? "", /v1\.34\.3/);
    assert.deepEqual(await site.disturbances(), []);

    await site.configure({ "pools.0.image": older, "pools.0.rollout": 0, "pools.0.cores": 3 });
    await site.up();
    const wanted = await generation({ image: older, cores: 3 });
    assert.equal(wanted?.state, "proved");
    assert.deepEqual(
      await site.vms("workers"),
      [0, 1, 2].map((slot) => `demo-workers-${slot}-${wanted.id}`),
    );
    assert.deepEqual(await site.complaints(), []);
  });

  it("returns to the proved generation by a plain update when the pool says so", async () => {
    const before = await site.vms("workers");
    await site.configure({ "pools.0.image": newer, "pools.0.strategy.onFailure": "rollback" });
    await failsInTheMiddle();
    const said = await site.up();
    assert.match(said, /rollback workers: /);
    assert.match(said, /onFailure is rollback, and \w+ is the last proved generation/);
    assert.deepEqual(await site.vms("workers"), before);
    assert.deepEqual(await site.complaints(), []);
    // Who was switched on again was healed by that update; one more sees that nobody is left to heal.
    await site.up();
    assert.match(await site.unchanged(), /held workers/);
  });

  it("goes back from the middle of a wave when the change is reverted", async () => {
    const before = await site.vms("workers");
    await site.lab.call("POST /faults", { kind: "fail-task", type: "qmclone", nth: 3, times: 5, text: "clone failed" });
    await site.configure({ "pools.0.image": older, "pools.0.memoryMiB": 2048 });
    assert.match(await site.fails(), /clone failed/);
    // The third clone begins when the first slot was handed over; the second slot may be by then.
    const left = (await serving()).filter((name) => before.includes(name));
    assert.ok(left.length === 1 || left.length === 2, left.join());
    assert.notEqual(
      (await generation({ memoryMiB: 2048 }))?.state,
      "failed",
      "a clone says nothing about a generation",
    );
    await site.lab.call("DELETE /faults", undefined);

    await site.configure({ "pools.0.memoryMiB": 4096 });
    await site.up();
    assert.deepEqual(await site.vms("workers"), before);
    assert.deepEqual(await site.complaints(), []);
  });
});
