import assert from "node:assert/strict";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { useClock } from "../../../src/runtime/clock.ts";
import { sayTo } from "../../../src/runtime/log.ts";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { Lease, LeaseLost } from "../../../src/clients/kubernetes/lease.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
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

  /** As a server whose clock is apart from ours would stamp them. */
  const stamps: [string, number][] = [
    ["of now", 0],
    ["of a clock that is 20 s behind", -20_000],
    ["of a clock that is a day ahead", 24 * 3600 * 1000],
  ];
  const put = (holderIdentity: string, leaseDurationSeconds: number, skew: number) => {
    const renewTime = new Date(Date.now() + skew).toISOString().replace("Z", "000Z");
    cluster.put(paths.leases, {
      metadata: { name: "slot-workers-0" },
      spec: { holderIdentity, leaseDurationSeconds, renewTime },
    });
  };

  for (const [stamp, skew] of stamps) {
    it(`of a dead holder are taken over after their whole life, not before, with the time ${stamp}`, async () => {
      put("dead", 1, skew);
      const started = performance.now();
      const lease = await take("run-2");
      const waited = performance.now() - started;
      assert.ok(waited >= 1000 && waited < 3000, `after ${waited} ms`);
      assert.equal(holderOf(), "run-2");
      await lease.release();
    });

    it(`of a living holder are never taken over, with the time ${stamp}`, async () => {
      put("alive", 1, skew);
      const renewals = setInterval(() => put("alive", 1, skew), 300);
      try {
        await assert.rejects(take("run-2", 15, 2.5), /slot-workers-0 is held by alive/);
      } finally {
        clearInterval(renewals);
      }
      assert.equal(holderOf(), "alive");
    });
  }

  it("that were taken by another end our right to act", async () => {
    const lease = await take("run-1", 0.2);
    cluster.put(paths.leases, { metadata: { name: "slot-workers-0" }, spec: { holderIdentity: "run-2" } });
    await new Promise((resolve) => setTimeout(resolve, 250));
    await assert.rejects(lease.check(), /the lease slot-workers-0 was lost: another process took it \(run-2\)/);
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

  const away = () =>
    (cluster.hook = ({ method }) => (method === "GET" ? undefined : { status: 503, reason: "ServiceUnavailable" }));
  const back = () => (cluster.hook = () => undefined);

  it("that could not be renewed for longer than they live stay ours when nobody took them", async () => {
    const lease = await take("run-1", 0.3);
    away();
    await new Promise((resolve) => setTimeout(resolve, 400));
    const checked = lease.check();
    await new Promise((resolve) => setTimeout(resolve, 200));
    back();
    await checked;
    await lease.check();
    assert.equal(holderOf(), "run-1");
    await lease.release();
  });

  it("that somebody took while the API was away for us are lost, and their holder is named", async () => {
    const lost: LeaseLost[] = [];
    const options = { holder: "run-1", seconds: 0.3, onLost: (error: LeaseLost) => void lost.push(error) };
    const lease = await Lease.take(client, ["slot-workers-0"], new Deadline("x", 5), options);
    away();
    await new Promise((resolve) => setTimeout(resolve, 400));
    put("run-2", 15, 0);
    back();
    await assert.rejects(lease.check(), /was lost: another process took it \(run-2\)/);
    assert.equal(lost.length, 1);
    await lease.release();
    assert.equal(holderOf(), "run-2");
  });

  it("that cannot be renewed for four times their life are lost, even if nobody took them", async () => {
    const lease = await take("run-1", 0.3);
    away();
    await new Promise((resolve) => setTimeout(resolve, 200));
    await assert.rejects(lease.check(), /the lease slot-workers-0 was lost: ServiceUnavailable/);
    back();
    await lease.release();
  });

  it("that were deleted are lost: somebody may have had them in between", async () => {
    const lease = await take("run-1", 0.3);
    cluster.remove(path);
    await new Promise((resolve) => setTimeout(resolve, 250));
    await assert.rejects(lease.check(), /was lost: somebody deleted it/);
  });

  for (const method of ["POST", "PUT", "DELETE"]) {
    it(`survive that the answer to a ${method} is lost which was carried out`, async () => {
      let strikes = 1;
      cluster.late = (call) => call.method === method && call.path.startsWith(paths.leases) && strikes-- > 0;
      const lease = await take("run-1", 0.3);
      await new Promise((resolve) => setTimeout(resolve, 400));
      await lease.check();
      assert.equal(holderOf(), "run-1");
      await lease.release();
      assert.equal(cluster.objects.has(path), false);
    });
  }

  it("that are given back in the middle of a renewal end with it: nothing more is asked, and nothing said", async () => {
    const said: string[] = [];
    const lease = await take("run-1", 0.3);
    sayTo((line) => said.push(line));
    try {
      await new Promise<void>((resolve) => {
        cluster.hook = ({ method }) => {
          if (method === "PUT") resolve(lease.release());
          return undefined;
        };
      });
      // Longer than until the next renewal.
      await new Promise((resolve) => setTimeout(resolve, 300));
    } finally {
      sayTo();
    }
    assert.deepEqual(
      cluster.calls.map(({ method }) => method),
      ["POST", "PUT", "DELETE"],
    );
    assert.deepEqual(said, []);
  });

  describe("that another process of the same holder renews", () => {
    const options = { holder: "engine", seconds: 0.4, isKept: true };
    const adopt = (held = cluster.objects.get(path)) => Lease.adopt(client, held as object, options);
    beforeEach(() => put("engine", 15, 0));

    it("are ours only once that was asked: what was read before may be older than their loss", async () => {
      const before = cluster.objects.get(path);
      put("run-2", 15, 0);
      await assert.rejects(adopt(before), /was lost: another process took it \(run-2\)/);
    });

    it("are lost when they were given back and taken anew meanwhile", async () => {
      const lease = await adopt();
      cluster.remove(path);
      put("engine", 15, 0);
      await new Promise((resolve) => setTimeout(resolve, 250));
      await assert.rejects(lease.check(), LeaseLost);
    });

    it("are renewed once for all who ask at the same time", async () => {
      const lease = await adopt();
      await new Promise((resolve) => setTimeout(resolve, 250));
      await Promise.all([lease.check(), lease.check(), lease.check()]);
      assert.equal(cluster.count("PUT", /slot-workers-0$/), 2);
    });

    it("are asked for again by a machine that has slept, whose own clock stood still meanwhile", async () => {
      let date = Date.now();
      const still = { elapsed: () => 0, date: () => date, sleep: () => Promise.resolve() };
      useClock({ ...still, timeout: () => new AbortController().signal, later: () => () => undefined });
      try {
        const lease = await adopt();
        cluster.put(paths.leases, { metadata: { name: "slot-workers-0" }, spec: { holderIdentity: "run-2" } });
        date += 600_000;
        await assert.rejects(lease.check(), /was lost: another process took it \(run-2\)/);
      } finally {
        useClock();
      }
    });

    it("count from when a renewal was asked for, not from when it was answered", async () => {
      let now = 0;
      const real = { elapsed: () => now, date: () => Date.now(), sleep: () => Promise.resolve() };
      useClock({ ...real, timeout: () => new AbortController().signal, later: () => () => undefined });
      try {
        cluster.hook = ({ method }) => {
          if (method === "PUT") now += 150;
          return undefined;
        };
        const lease = await adopt();
        now += 80;
        await lease.check();
        assert.equal(cluster.count("PUT", /slot-workers-0$/), 2);
      } finally {
        useClock();
      }
    });
  });

  it("of which any will do are taken from the first free one", async () => {
    const names = ["ticket-workers-0", "ticket-workers-1"];
    const [one, two] = [await take("run-1", 15, 5, names), await take("run-2", 15, 5, names)];
    assert.deepEqual([one.name, two.name], names);
    await assert.rejects(
      take("run-3", 15, 0.3, names),
      /ticket-workers-0 is held by run-1; ticket-workers-1 is held by run-2/,
    );
    const third = take("run-3", 15, 5, names);
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
