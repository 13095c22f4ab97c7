import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import type { SnapshotFault } from "../../lab/types.ts";
import { environmentOf } from "../../rollout/step-environment.ts";
import type { BackupPolicy } from "../../rollout/snapshot.ts";
import { handover } from "../../steps/handover.ts";
import { readSnapshotInput, type SnapshotInput } from "../../steps/input.ts";
import { join } from "../../steps/join.ts";
import { snapshot } from "../../steps/snapshot.ts";
import { StepCluster } from "./cluster.ts";

const onDisk: BackupPolicy = { leastBytes: 100_000, mostSeconds: 3600 };

describe("the etcd snapshot before the servers", function () {
  this.timeout(120_000);
  let cluster: StepCluster;
  let rollouts = 0;

  before(async () => {
    cluster = await StepCluster.start("127.82");
  });
  after(async () => {
    await cluster.stop();
  });
  afterEach(async () => {
    await cluster.lab.call("DELETE /faults", undefined);
  });

  /** What the step is told; each rollout has an id of its own. */
  const input = (backup: BackupPolicy, rollout = `r${(rollouts += 1)}`, seconds = 10): SnapshotInput => {
    const site = { ...cluster.site, timeouts: { ...cluster.site.timeouts, snapshot: seconds } };
    return readSnapshotInput(environmentOf({ cluster: "demo", site, backup, rollout }));
  };
  const broken = async (fault: SnapshotFault) => {
    await cluster.lab.call("POST /faults", { kind: "snapshot", fault });
  };
  const files = (name: string) => globSync(joinPath(cluster.lab.directory, "**", "snapshots", name));

  it("is none before there is a cluster", async () => {
    assert.deepEqual(await snapshot(cluster.run(), input(onDisk), {}), {});
  });

  it("is a whole one on the disk of a server, and is used again by the same rollout only", async () => {
    const server = cluster.slot("servers", 0);
    await cluster.clone(server);
    await join(cluster.run(), server);
    await handover(cluster.run(), server);
    const asked = input(onDisk);
    const made = await snapshot(cluster.run(), asked, {});
    assert.match(made.snapshot ?? "", new RegExp(`^evergreen-${asked.rollout}-demo-servers-0-aaaaaaaa-\\d+$`));
    assert.equal(made.node, server.node);
    assert.match(made.location ?? "", /^file:\/\/\/var\/lib\/rancher\/rke2\/server\/db\/snapshots\/evergreen-/);
    const [file = ""] = files(made.snapshot ?? "");
    const content = readFileSync(file);
    assert.equal(content.length, made.bytes);
    // etcd puts the SHA-256 of the database behind it.
    const digest = createHash("sha256").update(content.subarray(0, -32)).digest("hex");
    assert.equal(content.subarray(-32).toString("hex"), digest);

    assert.deepEqual(await snapshot(cluster.run(), asked, {}), made);
    assert.equal(files(`evergreen-${asked.rollout}-*`).length, 1);
    const other = await snapshot(cluster.run(), input(onDisk), {});
    assert.notEqual(other.snapshot, made.snapshot);
  });
});
