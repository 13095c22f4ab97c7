import assert from "node:assert/strict";
import { readGoingAwayNote, writeGoingAwayNote } from "../../src/clients/proxmox/notes.ts";
import { guard, unguard } from "../../src/steps/verbs/guard.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { release } from "../../src/steps/verbs/release.ts";
import { retire } from "../../src/steps/verbs/retire.ts";
import { rollout } from "../../src/steps/verbs/rollout.ts";
import { blue, StepCluster } from "./cluster.ts";

/**
 * What the engine asks before it destroys a VM, where nothing has been retired: a destroy that nothing allows, and a cluster that
 * cannot be asked. At 1fa92b1 a VM that was off was let go in every one of these cases, with the data that a recovery needs.
 */
describe("retire and release of what was not retired", function () {
  this.timeout(240_000);
  let cluster: StepCluster;
  const claimed = new Map<string, object>();

  const servers = () => [0, 1, 2].map((slot) => cluster.slot("servers", slot));
  const worker = () => cluster.slot("workers", 0);
  const guards = (allowDestroy: boolean) => ({ cluster: "demo", site: cluster.site, allowDestroy });
  /** A step of a destroy. */
  const run = (previous?: object) => ({ ...cluster.run(previous), mayTearDown: true });
  const letGo = async (verb: typeof retire | typeof release, input: SlotInput) =>
    await verb(run(claimed.get(input.node)), input);

  before(async () => {
    cluster = await StepCluster.start("127.57");
    for (const input of [...servers(), worker()]) {
      await cluster.clone(input);
      claimed.set(input.node, await join(cluster.run(), input));
      if (input.node !== servers()[2]?.node) await handover(cluster.run(), input);
    }
    await rollout(cluster.run(), cluster.pool("servers", 3, blue));
    await rollout(cluster.run(), cluster.pool("workers", 1, blue));
    cluster.site.timeouts.gate = 2;
  });
  after(async () => {
    await cluster.stop();
  });

  const refused = async (inputs: readonly SlotInput[], why: RegExp) => {
    // A release asks first whether the VM holds data, which cannot be said either.
    const either = new RegExp(`${why.source}|the cluster's API does not answer`);
    for (const input of inputs) {
      await assert.rejects(letGo(retire, input), why);
      await assert.rejects(letGo(release, input), either);
    }
  };

  it("is refused while the cluster serves and the last update wants them: a destroy without its guard", async () => {
    const [, , last = worker()] = servers();
    // Before it has its slot it is a voter already.
    await refused([last], /demo-servers-2-aaaaaaaa is a server of a cluster that stays/);
    await handover(cluster.run(), last);
    await refused([last], /demo-servers-2-aaaaaaaa is a server of a cluster that stays/);
    await refused([worker()], /demo-workers-0-aaaaaaaa is a node of a cluster that stays/);
    const { members, nodes } = await cluster.lab.status;
    assert.deepEqual([members.length, nodes.filter(({ schedulable }) => schedulable).length], [3, 4]);
  });

  it("is refused while another update runs, and marks nothing", async () => {
    const running = () => Promise.reject(new Error("another update of the cluster demo is running"));
    const place = { host: "pve1", vmid: 1000 };
    const other = { ...run(), update: running };
    await assert.rejects(unguard(other, guards(true)), /another update/);
    const allowed = { ...(servers()[2] ?? worker()), allowDestroy: true };
    await assert.rejects(retire({ ...run(claimed.get(allowed.node)), update: running }, allowed), /another update/);
    assert.equal(await readGoingAwayNote(cluster.pve, place), undefined);
  });

  it("is refused on the mark of an earlier destroy while another update runs, which may keep the cluster", async () => {
    const [, , last = worker()] = servers();
    await unguard(run(), guards(true));
    const running = () => Promise.reject(new Error("another update of the cluster demo is running"));
    for (const input of [worker(), last]) {
      const other = { ...run(claimed.get(input.node)), update: running };
      await assert.rejects(retire(other, input), /another update/);
      assert.equal(await cluster.status(input.vmid), "running");
    }
    const fence = { check: () => Promise.resolve(), requireOwned: () => Promise.resolve() };
    const keeping = () => guard(cluster.run(), guards(true)).then(() => fence);
    const kept = { ...run(claimed.get(worker().node)), update: keeping };
    await assert.rejects(retire(kept, worker()), /is a node of a cluster that stays/);
    assert.equal(await cluster.status(worker().vmid), "running");
  });

  it("is refused of a server that is off while the others serve", async () => {
    const [, , last = worker()] = servers();
    await cluster.operator.power(last.vmid, "stop");
    await refused([last], /is a server of a cluster that stays/);
  });

  it("is refused without a quorum of etcd, of servers that are off and of agents", async () => {
    const [first = worker(), second = worker(), third = worker()] = servers();
    await cluster.operator.power(second.vmid, "stop");
    await refused([third, worker()], /cannot say whether .* was retired, so its VM stays: /);
    await cluster.operator.power(first.vmid, "stop");
    await cluster.operator.power(worker().vmid, "stop");
    await refused([first, third, worker()], /so its VM stays: no server runs that has started RKE2/);
  });

  it("is refused on the mark of one VM that an earlier destroy has left", async () => {
    const place = { host: "pve1", vmid: 1001 };
    await writeGoingAwayNote(cluster.pve, place, "2026-01-01T00:00:00.000Z");
    await refused([servers()[1] ?? worker()], /so its VM stays/);
    await guard(cluster.run(), guards(true));
    assert.equal(await readGoingAwayNote(cluster.pve, place), undefined);
  });

  it("is done when a destroy has said so on the VMs of its servers, also of a cluster of which nothing runs", async () => {
    await assert.rejects(unguard(run(), guards(false)), /may not be destroyed/);
    await refused([worker()], /so its VM stays/);
    await unguard(run(), guards(true));
    for (const input of [worker(), ...servers()]) {
      await letGo(retire, input);
      await letGo(release, input);
      assert.equal(await cluster.status(input.vmid), "stopped");
    }
  });
});
