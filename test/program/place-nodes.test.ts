import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { planPools } from "../../src/program/cluster-plan.ts";
import { poolArgs } from "../../src/program/place-nodes.ts";
import { NEW, OLD, picture, settledPicture, smallConfig } from "../support/picture.ts";

const since = "2026-03-01T11:00:00.000Z";
const workers = { name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 } };

describe("the place of a planned VM", () => {
  it("names a template where one is cloned, and of a VM that stays only while there is one", () => {
    const strategy = { canary: 1, soakSeconds: 600 };
    const config = smallConfig({
      controlPlane: { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } },
      pools: [{ ...workers, image: NEW, strategy }],
    });
    const kubernetes = { now: () => new Date(since) } as unknown as Kubernetes;
    const before = settledPicture(
      { controlPlane: { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } }, pools: [workers] },
      kubernetes,
      since,
    );
    const templatesIn = (images: readonly string[]) => {
      const observed = { ...before, images: new Map([...picture().images].filter(([name]) => images.includes(name))) };
      const [plan] = planPools(config, observed).pools;
      assert.ok(plan);
      const { slots } = poolArgs(config, { observed, places: new Map(), templates: new Map() }, plan).plan;
      return slots.map(({ vm }) => vm.template?.vmid);
    };
    assert.deepEqual(templatesIn([OLD, NEW]), [9002, 9001]);
    assert.deepEqual(templatesIn([NEW]), [9002, undefined]);
  });
});
