import assert from "node:assert/strict";
import { useClock, type Clock } from "../../../src/runtime/clock.ts";
import { LeaseObserver } from "../../../src/clients/kubernetes/lease-observer.ts";
import { fastClock } from "../../support/fast-clock.ts";

describe("a lease that is watched", () => {
  let now = 0;
  const clock: Clock = { ...fastClock, elapsed: () => now };
  beforeEach(() => {
    now = 0;
    useClock(clock);
  });
  afterEach(() => useClock());

  const lease = (resourceVersion: string, holderIdentity = "run-1") => ({
    metadata: { name: "slot-workers-0", uid: "1", resourceVersion },
    spec: { holderIdentity, leaseDurationSeconds: 15 },
  });

  it("is left to its holder for its duration and a last chance after it, be the API away until then", () => {
    const observer = new LeaseObserver();
    assert.equal(observer.left(lease("1")), 18_000);
    // For most of a minute nobody could ask, nor renew it.
    now = 50_000;
    assert.equal(observer.left(lease("1")), 3_000);
    now = 52_000;
    assert.equal(observer.left(lease("1")), 1_000);
    now = 53_000;
    assert.equal(observer.left(lease("1")), 0);
  });

  it("lives anew with every version", () => {
    const observer = new LeaseObserver();
    observer.left(lease("1"));
    now = 50_000;
    observer.left(lease("1"));
    now = 51_000;
    assert.equal(observer.left(lease("2")), 18_000);
  });

  it("is nobody's when it names no holder", () => {
    assert.equal(new LeaseObserver().left(lease("1", "")), 0);
  });
});
