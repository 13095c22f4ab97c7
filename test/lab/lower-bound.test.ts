import assert from "node:assert/strict";
import fc from "fast-check";
import { durationsOf, lowerBound, serialBound, serialFloor, serverDurationsOf } from "../../lab/lower-bound.ts";
import { ceph, fast, nvme } from "../../lab/profiles.ts";

/** A site with 1 s locks, 51 s to create a node and 46 s to retire one. */
const site = { lock: 1, create: 51, retire: 46, podReady: 5 };

describe("the lower bound of a rollout", () => {
  const cases = [
    { agents: 3, surge: 1, maxUnavailable: 1, terms: [291, 189, 99], seconds: 291 },
    { agents: 10, surge: 2, maxUnavailable: 2, terms: [485, 281, 106], seconds: 485 },
    { agents: 50, surge: 5, maxUnavailable: 5, terms: [970, 511, 146], seconds: 970 },
    { agents: 50, surge: 10, maxUnavailable: 5, terms: [485, 511, 146], seconds: 511 },
    { agents: 50, surge: 50, maxUnavailable: 10, terms: [97, 281, 146], seconds: 281 },
    { agents: 500, surge: 50, maxUnavailable: 25, terms: [970, 971, 596], seconds: 971 },
    { agents: 500, surge: 1, maxUnavailable: 1, terms: [48_500, 23_051, 596], seconds: 48_500 },
  ];
  for (const { terms, seconds, ...shape } of cases) {
    it(`of ${shape.agents} agents, surge ${shape.surge}, unavailable ${shape.maxUnavailable} is ${seconds} s`, () => {
      const bound = lowerBound(site, shape);
      assert.deepEqual([bound.terms.surge, bound.terms.disruption, bound.terms.storage], terms);
      assert.equal(bound.seconds, seconds);
      assert.equal(bound.seconds, bound.terms[bound.by]);
    });
  }

  it("counts the turns that the tightest budget needs", () => {
    const bound = lowerBound(site, {
      agents: 2,
      surge: 2,
      maxUnavailable: 2,
      workloads: [
        { pods: 100, allowed: 50 },
        { pods: 61, allowed: 2 },
      ],
    });
    assert.equal(bound.terms.budget, 51 + 31 * 5);
    assert.equal(bound.by, "budget");
  });

  it("spreads clones over storages and adds the soak at the end", () => {
    const shape = { agents: 40, surge: 40, maxUnavailable: 40 };
    assert.equal(lowerBound(site, { ...shape, storages: 4 }).terms.storage, 10 + 50 + 46);
    assert.equal(lowerBound(site, { ...shape, soakSeconds: 60 }).seconds, lowerBound(site, shape).seconds + 60);
  });

  it("is nothing when there is nothing to roll", () => {
    assert.equal(lowerBound(site, { agents: 0, surge: 1, maxUnavailable: 1, soakSeconds: 60 }).seconds, 0);
  });

  it("reads the durations from the data centre's profile, which is in milliseconds", () => {
    const durations = durationsOf({
      name: "nvme",
      cloneLock: 1000,
      fullClone: 99_000,
      start: 3000,
      boot: 12_000,
      register: 30_000,
      ready: 5000,
      shutdown: 5000,
      destroy: 99_000,
      podStart: 700,
      podStop: 35_000,
      rebuild: 60_000,
      bakeStage: 5000,
    });
    assert.deepEqual(durations, { lock: 1, create: 51, retire: 40, podReady: 0.7 });
  });

  it("never grows when more may be done at once", () => {
    const number = fc.integer({ min: 1, max: 60 });
    fc.assert(
      fc.property(number, number, number, (agents, surge, maxUnavailable) => {
        const bound = lowerBound(site, { agents, surge, maxUnavailable }).seconds;
        assert.ok(bound >= site.create + site.retire);
        assert.ok(lowerBound(site, { agents, surge: surge + 1, maxUnavailable }).seconds <= bound);
        assert.ok(lowerBound(site, { agents, surge, maxUnavailable: maxUnavailable + 1 }).seconds <= bound);
      }),
    );
  });
});

describe("the serial bound of servers", () => {
  /** A site with RKE2's promotion ticker of 15 s, 30 s of grace for pods, and 16 s to boot. */
  const site = (promotion: number) => ({ boot: 16, join: 30 + 2 + promotion + 10, retire: 35 + 3 + 5, apart: 5 });
  const cases = [
    { what: "at the ticker's mean", durations: site(7.5), servers: 3, seconds: 308.5, floor: 293.5 },
    { what: "at its worst", durations: site(15), servers: 3, seconds: 331, floor: 316 },
    { what: "with five servers", durations: site(7.5), servers: 5, seconds: 503.5, floor: 478.5 },
    { what: "with one", durations: site(7.5), servers: 1, seconds: 113.5, floor: 108.5 },
    { what: "with none", durations: site(7.5), servers: 0, seconds: 0, floor: 0 },
    // 10 + 5 + 5 + (1 + 2): etcd holds the next one up, and nobody comes after the last.
    {
      what: "where etcd is slower",
      durations: { boot: 10, join: 1, retire: 2, apart: 5 },
      servers: 3,
      seconds: 34,
      floor: 23,
    },
  ];
  for (const { what, durations, servers, seconds, floor } of cases) {
    it(`${what} is ${seconds} s, and no tool comes below ${floor} s`, () =>
      assert.deepEqual([serialBound(durations, servers), serialFloor(durations, servers)], [seconds, floor]));
  }

  it("follows from the lab's profile, its guests and etcd alone", () => {
    const rows = [
      { profile: nvme, boot: 14.5, join: 15, retire: 4, seconds: 86.5, floor: 71.5 },
      { profile: ceph, boot: 30, join: 30, retire: 8, seconds: 159, floor: 144 },
      // Everything is over before etcd lets the next one in.
      { profile: fast, boot: 0.35, join: 0.35, retire: 0.1, seconds: 16.7, floor: 10.8 },
    ];
    for (const { profile, seconds, floor, ...parts } of rows) {
      const durations = serverDurationsOf(profile);
      assert.deepEqual(durations, { ...parts, apart: 5 });
      const both = [serialBound(durations, 3), serialFloor(durations, 3)];
      assert.deepEqual(
        both.map((bound) => Number(bound.toFixed(3))),
        [seconds, floor],
      );
    }
  });

  it("counts the end of pods where servers have any, however many", () => {
    assert.equal(serverDurationsOf(nvme, 1).retire, 6);
    assert.equal(serverDurationsOf(nvme, 30).retire, 6);
  });

  it("counts the promotion of the learner when RKE2 starts sooner", () => {
    assert.equal(serverDurationsOf({ ...nvme, register: 10 }).join, 6.05);
  });
});
