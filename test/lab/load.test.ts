import assert from "node:assert/strict";
import { dirname } from "node:path";
import { rm } from "node:fs/promises";
import { Deadline } from "../../src/runtime/deadline.ts";
import { type Lab, stopLab } from "../../lab/lab.ts";
import type { LabOptions } from "../../lab/site.ts";
import type { Operator } from "./support/operator.ts";
import { labOptions, startCluster, startLoad } from "./support/start.ts";

const worker = (slot: number) => `demo-workers-${slot}-aaaaaaaa`;

describe("load, prober and watcher on a real control plane", function () {
  this.timeout(180_000);
  let options: LabOptions;
  let lab: Lab;
  let operator: Operator;

  before(async () => {
    options = await labOptions("127.61");
    ({ lab, operator } = await startCluster(options, 4));
    await startLoad(lab);
  });

  after(async () => {
    await operator.close();
    await stopLab(options.directory);
    await rm(dirname(options.directory), { recursive: true });
  });

  async function requests(more: number): Promise<void> {
    const before = (await lab.status).probe;
    await new Deadline(`${more} more requests of the prober`, 60).poll(100, async () => {
      const { probe } = await lab.status;
      const enough =
        probe.workload.requests >= before.workload.requests + more && probe.api.requests > before.api.requests;
      return enough ? true : undefined;
    });
  }

  const invariants = async () => (await lab.status).violations.map(({ invariant }) => invariant);

  it("has spread the workload over all workers", async () => {
    const counts = await Promise.all([0, 1, 2, 3].map(async (slot) => (await operator.podsOn(worker(slot))).length));
    assert.deepEqual(counts, [3, 3, 3, 3]);
  });

  it("sees no failure while a node is drained, powered off and removed in the right order", async () => {
    await lab.call("POST /watcher/limits", { workers: { slots: 4, surge: 1, maxUnavailable: 1 } });
    await operator.drain(worker(0));
    await operator.power(1100, "stop");
    await operator.deleteNode(worker(0));
    await operator.destroyVm(1100);
    await requests(40);
    const { probe, evicted, violations } = await lab.status;
    assert.deepEqual([probe.failed, violations], [0, []], JSON.stringify(probe));
    assert.equal(evicted, 3);
  });

  it("names what a run must not leave behind", async () => {
    await operator.cordon(worker(1));
    const left = await lab.call("POST /watcher/finish", { seconds: 1 });
    assert.deepEqual(left.map(({ invariant, subject }) => `${invariant} ${subject}`).sort(), [
      // Slot 0 is empty already, so that one more node is one too many.
      "availability workers",
      "cordon-left demo-workers-1-aaaaaaaa",
      "empty-slot workers",
    ]);
    await operator.cordon(worker(1), false);
    await lab.call("POST /watcher/reset", undefined);
  });

  it("sees failures when a node is powered off without a drain", async () => {
    await lab.call("POST /probe/reset", undefined);
    await operator.power(1101, "stop");
    await requests(40);
    const { probe } = await lab.status;
    assert.ok(probe.workload.failed > 0, "powering off a node with pods went unnoticed");
    assert.match(probe.workload.failures[0]?.reason ?? "", /ECONN|EHOSTUNREACH|no answer/);
    assert.ok((await invariants()).includes("budget"));
  });

  it("reports a pod that is deleted instead of evicted", async () => {
    await lab.call("POST /watcher/reset", undefined);
    const [pod] = await operator.podsOn(worker(2));
    assert.ok(pod);
    await operator.kube.call("DELETE", `/api/v1/namespaces/load/pods/${pod.metadata.name}`);
    await new Deadline("the violation", 60).poll(100, async () =>
      (await invariants()).includes("eviction-only") ? true : undefined,
    );
  });

  it("reports a VM that is destroyed while its Node exists", async () => {
    await operator.power(1102, "stop");
    await operator.destroyVm(1102);
    await new Deadline("the violation", 60).poll(100, async () =>
      (await invariants()).includes("member-destroyed") ? true : undefined,
    );
  });
});
