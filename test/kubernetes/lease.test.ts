import assert from "node:assert/strict";
import { Deadline } from "../../common/deadline.ts";
import type { Kubernetes } from "../../kubernetes/client.ts";
import { isExpired, Lease, LeaseLost } from "../../kubernetes/lease.ts";
import { paths } from "../../kubernetes/types.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

const path = `${paths.leases}/slot-workers-0`;

describe("leases", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));
  const take = (holder: string, seconds = 15, wait = 5, names = ["slot-workers-0"]) =>
    Lease.take(client, names, new Deadline("the slot", wait), { holder, seconds });
  const holderOf = (at = path) =>
    (cluster.objects.get(at)?.spec as { holderIdentity?: string } | undefined)?.holderIdentity;

  it("cost one request to take and one to give back", async () => {
    const lease = await take("run-1");
    assert.equal(holderOf(), "run-1");
    await lease.check();
    await lease.release();
    assert.equal(cluster.calls.length, 2);
    assert.equal(cluster.objects.has(path), false);
    await assert.rejects(lease.check(), LeaseLost);
  });

  it("make the namespace when it is the first thing of ours", async () => {
    let exists = false;
    cluster.hook = ({ method, path: asked }) => {
      if (asked === paths.namespaces) exists = true;
      return method === "POST" && asked === paths.leases && !exists ? { status: 404, reason: "NotFound" } : undefined;
    };
    await (await take("run-1")).release();
  });

  it("are waited for, and taken the moment they are given back", async () => {
    const first = await take("run-1");
    const second = take("run-2");
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(holderOf(), "run-1");
    const released = performance.now();
    await first.release();
    await (await second).release();
    assert.ok(performance.now() - released < 1500);
  });

  it("name their holder when they are not given back in time", async () => {
    const first = await take("run-1");
    await assert.rejects(take("run-2", 15, 0.3), /waiting for the slot.*slot-workers-0 is held by run-1/s);
    assert.equal(holderOf(), "run-1");
    await first.release();
  });

  it("of a dead holder are taken over when they have expired, not before", async () => {
    const renewTime = new Date(Date.now() - 1000).toISOString().replace("Z", "000Z");
    cluster.put(paths.leases, {
      metadata: { name: "slot-workers-0" },
      spec: { holderIdentity: "dead", leaseDurationSeconds: 1, renewTime },
    });
    const started = performance.now();
    const lease = await take("run-2");
    assert.ok(performance.now() - started > 300, "the margin for clocks was not kept");
    assert.equal(holderOf(), "run-2");
    await lease.release();
  });

  it("that were taken by another end our right to act", async () => {
    const lease = await take("run-1", 0.2);
    cluster.put(paths.leases, { metadata: { name: "slot-workers-0" }, spec: { holderIdentity: "run-2" } });
    await new Promise((resolve) => setTimeout(resolve, 250));
    await assert.rejects(lease.check(), /the lease slot-workers-0 was lost: another process took it/);
    await lease.release();
    assert.equal(holderOf(), "run-2", "a lease of somebody else was deleted");
  });

  it("are renewed while they are held", async () => {
    const lease = await take("run-1", 0.3);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await lease.check();
    assert.ok(cluster.count("PUT", /slot-workers-0$/) >= 3);
    await lease.release();
  });

  it("that cannot be renewed in time are lost, even if nobody took them", async () => {
    const lease = await take("run-1", 0.3);
    cluster.hook = ({ method }) => (method === "PUT" ? { status: 503, reason: "ServiceUnavailable" } : undefined);
    await new Promise((resolve) => setTimeout(resolve, 400));
    await assert.rejects(lease.check(), LeaseLost);
    cluster.hook = () => undefined;
    await lease.release();
  });

  it("of which any will do are taken from the first free one", async () => {
    const tickets = ["ticket-workers-0", "ticket-workers-1"];
    const [one, two] = [await take("run-1", 15, 5, tickets), await take("run-2", 15, 5, tickets)];
    assert.deepEqual([one.name, two.name], tickets);
    await assert.rejects(
      take("run-3", 15, 0.3, tickets),
      /ticket-workers-0 is held by run-1; ticket-workers-1 is held by run-2/,
    );
    const third = take("run-3", 15, 5, tickets);
    await two.release();
    assert.equal((await third).name, "ticket-workers-1");
    await (await third).release();
    await one.release();
  });

  it("stop our acting when the run is cancelled", async () => {
    const stop = new AbortController();
    const lease = await Lease.take(client, ["slot-workers-0"], new Deadline("x", 5), {
      holder: "h",
      stop: stop.signal,
    });
    stop.abort(new Error("cancelled"));
    await assert.rejects(lease.check(), /cancelled/);
    await lease.release();
    assert.equal(cluster.objects.has(path), false);
  });
});

describe("a lease", () => {
  const holder = { holderIdentity: "run-1", leaseDurationSeconds: 15, renewTime: "2026-11-21T08:00:00.000000Z" };
  const cases: [string, string, object, boolean][] = [
    ["in its time", "08:00:14.999", holder, false],
    ["in the margin for clocks, in which nobody takes it over", "08:00:16.499", holder, false],
    ["after the margin", "08:00:16.500", holder, true],
    ["of nobody", "08:00:00.000", { ...holder, holderIdentity: "" }, true],
    ["without a time", "08:00:00.000", { holderIdentity: "run-1" }, true],
    ["with a time that is none", "08:00:00.000", { ...holder, renewTime: "soon" }, true],
  ];
  for (const [which, at, spec, expected] of cases) {
    it(`${which} is ${expected ? "expired" : "not expired"}`, () => {
      const client = { now: () => new Date(`2026-11-21T${at}Z`) };
      assert.equal(isExpired(client, { metadata: { name: "slot-workers-0" }, spec }), expected);
    });
  }
});
