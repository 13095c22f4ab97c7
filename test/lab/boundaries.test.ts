import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { Boundaries, effectOf } from "../../lab/boundaries.ts";

const start = { method: "POST", path: "nodes/pve1/qemu/1100/status/start" };
const list = { method: "GET", path: "cluster/resources" };

describe("the boundaries of requests", () => {
  /** Whether a request goes on at once; undefined: it waits. */
  const now = async (crossing: Promise<boolean>): Promise<boolean | undefined> =>
    await Promise.race([crossing, turn(undefined)]);

  it("tell changes from reads", () => {
    assert.equal(effectOf(start), "change");
    assert.equal(effectOf(list), "read");
    assert.equal(effectOf({ method: "POST", path: "nodes/pve1/qemu/1100/agent/ping" }), "read");
    const lease = "/apis/coordination.k8s.io/v1/namespaces/ours/leases";
    assert.equal(effectOf({ method: "POST", path: lease }), "change");
    assert.equal(effectOf({ method: "PUT", path: `${lease}/slot-workers-1` }), undefined, "a renewal");
    assert.equal(effectOf({ method: "DELETE", path: "/api/v1/nodes/one" }), "change");
  });

  it("hold the request that was ordered, where it was ordered, until they are cleared", async () => {
    const told: string[] = [];
    const boundaries = new Boundaries((text) => told.push(text));
    assert.equal(await now(boundaries.enter(start).at("before")), false, "nothing is held without an order");
    boundaries.hold({ effect: "change", nth: 2, when: "after" });
    assert.equal(await now(boundaries.enter(start).at("after")), false, "the first one");
    assert.equal(await now(boundaries.enter(list).at("after")), false, "a read does not count");
    const second = boundaries.enter(start);
    assert.equal(await now(second.at("before")), false);
    const held = second.at("after");
    assert.equal(await now(held), undefined);
    assert.deepEqual(told, [`held after its effect: POST ${start.path}`]);
    assert.equal(await now(boundaries.enter(start).at("after")), false, "nobody else is held");
    boundaries.clear();
    assert.equal(await held, true, "it is cut");
    assert.deepEqual(boundaries.seen, { changes: 4, reads: 1 });
  });

  it("hold a request of the token of bakes by its number among those alone", async () => {
    const told: string[] = [];
    const boundaries = new Boundaries((text) => told.push(text));
    boundaries.hold({ effect: "change", nth: 2, when: "before", ofBakes: true });
    const all = [true, false, false, true].map((isOfBakes) => boundaries.enter(start, isOfBakes));
    const [, , third, last] = all;
    assert.equal(await third?.at("before"), false, "another token's requests do not count");
    const held = last?.at("before");
    assert.equal(told.length, 1);
    boundaries.clear();
    assert.equal(await held, true);
    assert.deepEqual([boundaries.seen.changes, boundaries.seenOfBakes.changes], [4, 2]);
  });
});
