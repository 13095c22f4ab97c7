import assert from "node:assert/strict";
import { waysPastCanary } from "../../../src/domain/rollout/decision.ts";
import { A, B, HALF_WAY, ID, nameOf, planned, poolOf, PROVED_A, settled, world, type Held } from "./world.ts";

describe("words of a plan", () => {
  it("tell who comes, who goes, in what order and why", () => {
    assert.deepEqual(planned(poolOf(B), world(settled(A), PROVED_A)).words, [
      `roll workers: ${ID.a} -> ${ID.b} (image ubuntu-24.04-rke2-v1.0.0 -> v1.1.0), 4 slots, surge 2, at most 1 out at once`,
      `  slot 0: ${nameOf(0, B)} comes (VMID 1104, 127.40.0.105), then ${nameOf(0, A)} leaves`,
      `  slot 1: ${nameOf(1, B)} comes (VMID 1105, 127.40.0.106), then ${nameOf(1, A)} leaves; handed over after slot 0`,
      `  slot 2: ${nameOf(2, B)} comes (VMID 1106, 127.40.0.107), then ${nameOf(2, A)} leaves; joins after slot 0, handed over after slot 1`,
      `  slot 3: ${nameOf(3, B)} comes (VMID 1107, 127.40.0.108), then ${nameOf(3, A)} leaves; joins after slot 1, handed over after slot 2`,
    ]);
  });

  it("tell no more to be out at once than come", () => {
    const [headline] = planned(
      poolOf(B, { strategy: { surge: 1, maxUnavailable: 3 } }),
      world(settled(A), PROVED_A),
    ).words;
    assert.match(headline ?? "", /surge 1, at most 1 out at once$/);
  });

  it("tell who is down, comes first for it and counts as out", () => {
    const down = settled(A).map((one) => (one.slot > 1 ? { ...one, well: false } : one));
    const { words } = planned(poolOf(B, { strategy: { surge: 2, maxUnavailable: 2 } }), world(down, PROVED_A));
    assert.equal(words[1], "  nobody serves in slots 2-3: they come first and count as out until then");
    assert.match(words.find((line) => line.startsWith("  slot 1:")) ?? "", /joins after slot 3$/);
  });

  it("tell how many VMs run until those that leave for good are gone", () => {
    const pool = poolOf(B, { slots: 3, strategy: { surge: 2, maxUnavailable: 1 } });
    const { words } = planned(pool, world(settled(A, 6), PROVED_A));
    assert.ok(words.includes("  who leaves goes at the end of the run: up to 8 VMs of the pool run until then"));
  });

  it("tell how far an earlier run came", () => {
    assert.deepEqual(planned(poolOf(B), world(HALF_WAY, [...PROVED_A, [B, "rolling"]])).words.slice(1, 3), [
      `  slot 0: belongs to ${nameOf(0, B)}; ${nameOf(0, A)} is off and is destroyed at the end`,
      `  slot 1: ${nameOf(1, B)} is there (VMID 1103, 127.40.0.104), then ${nameOf(1, A)} leaves; handed over after slot 0`,
    ]);
    assert.match(
      planned(poolOf(A), world(HALF_WAY, [...PROVED_A, [B, "rolling"]])).words.join("\n"),
      /slot 1: stays|slots 1-3: stay/,
    );
  });

  it("tell that nothing is to do, and why nothing happens", () => {
    assert.deepEqual(planned(poolOf(A), world(settled(A), PROVED_A)).words, [
      `workers: 4 nodes of ${ID.a}, nothing to do`,
    ]);
    const at = world(settled(A), [...PROVED_A, [B, "failed"]]);
    at.record?.generations.forEach((one) => {
      if (one.state === "failed") one.why = "pods could not pull images";
    });
    assert.deepEqual(planned(poolOf(B), at).words, [
      `held workers: slots stay as they are, ${ID.b} is wanted`,
      `  ${ID.b} was judged failed at 2026-03-01T11:00:00.000Z: pods could not pull images`,
      "  to go on: change the pool's content, or raise its `rollout` counter to try the same content again",
      `  slots 0-3: stay on ${ID.a}`,
    ]);
  });

  it("name dead nodes that a canary leaves where they are, and how a rollout gets past them", () => {
    const pool = poolOf(B, { strategy: { canary: { nodes: 1 }, soakSeconds: 60 } });
    const held: Held[] = settled(A).map((one) => ({ ...one, well: one.slot < 2 }));
    assert.deepEqual(planned(pool, world(held, PROVED_A)).words.slice(1, 3), [
      "  1 of 4 slots first; a run after their soak of 60 s goes on with the others",
      `  ${nameOf(3, A)} stay until then, and have to serve: ${waysPastCanary}`,
    ]);
  });

  it("name open handovers that a canary leaves where they are, and put one before a node that is down", () => {
    const pool = poolOf(B, { strategy: { canary: { nodes: 1 }, soakSeconds: 60 } });
    const held: Held[] = settled(A).map((one) => ({ ...one, well: one.slot !== 1 }));
    const at = world(held, PROVED_A);
    for (const node of at.record?.nodes ?? [])
      if (node.slot >= 2)
        node.displaced = [{ namespace: "shop", kind: "ReplicaSet", name: "web", pods: 1, unplaced: 0 }];
    const plan = planned(pool, at);
    assert.deepEqual(
      plan.slots.map(({ generation }) => generation.id),
      [ID.a, ID.a, ID.b, ID.a],
    );
    assert.deepEqual(plan.words.slice(2, 4), [
      `  ${nameOf(1, A)} stay until then, and have to serve: ${waysPastCanary}`,
      "  what was evicted for slots 3 has to run: where only another image can start it, raise `canary` or take it out",
    ]);
  });

  it("tell until when a soak runs", () => {
    const pool = poolOf(B, { strategy: { canary: { nodes: 1 }, soakSeconds: 7200 } });
    const held: Held[] = [{ slot: 0, spec: B, phase: "handedOver" }, ...settled(A, 3, 1)];
    assert.deepEqual(planned(pool, world(held, [...PROVED_A, [B, "soaking"]])).words, [
      `workers: 1 of 4 slots are on ${ID.b} and soak, nothing to do`,
      `  ${ID.b} soaks until 2026-03-01T13:00:00.000Z; a run after that goes on`,
      `  slot 0: stays on ${ID.b}`,
      `  slots 1-3: stay on ${ID.a}`,
    ]);
  });
});
