import assert from "node:assert/strict";
import { planRemoval } from "../../../src/domain/rollout/plan.ts";
import { PlanError } from "../../../src/domain/model/problem.ts";
import type { GenerationState, NodeSpec } from "../../../src/domain/model/types.ts";
import { A, B, C, ID, nameOf, NOTHING, NOW, planned, poolOf, PROVED_A, settled, world, type Held } from "./world.ts";

describe("plan of a control plane", () => {
  const servers = (node: NodeSpec, slots = 3) => poolOf(node, { role: "server", slots });

  it("creates servers one after the other", () => {
    const made = planned(servers(A), NOTHING);
    assert.equal(made.kind, "create");
    assert.match(made.words.join("\n"), /one server after the other/);
    assert.match(made.words.join("\n"), /slot 2: .* joins after slot 1/);
  });

  it("replaces servers one after the other, and says so", () => {
    const made = planned(servers(B), world(settled(A, 3), PROVED_A));
    assert.equal(made.kind, "roll");
    const words = made.words.join("\n");
    assert.match(words, /^roll workers: .*image ubuntu-24.04-rke2-v1.0.0 -> v1.1.0/);
    assert.match(words, /slot 1: .* comes .*then .* leaves; joins after slot 0/);
  });

  it("replaces the only server with consent alone", () => {
    const only = world(settled(A, 1), PROVED_A);
    assert.match(
      refused(() => planned(servers(B, 1), only)),
      /would replace the only server/,
    );
    assert.equal(planned(servers(A, 1), only).kind, "steady");
    const strategy = { replaceOnlyServer: true } as const;
    assert.equal(planned(poolOf(B, { role: "server", slots: 1, strategy }), only).kind, "roll");
  });

  for (const [title, held, isSaid] of [
    ["grows from one server", settled(A, 1), true],
    ["goes on with its first creation", [{ slot: 0, spec: A, phase: "joined" }], false],
    ["goes on with two of three voters", [...settled(A, 1), { slot: 1, spec: A, phase: "joined" }], false],
    ["grows from three", settled(A, 3), false],
  ] as [string, Held[], boolean][])
    it(`${isSaid ? "says" : "says nothing"} of two voters when it ${title}`, () => {
      const words = planned(servers(A, 5), world(held, PROVED_A)).words.join("\n");
      assert.equal(words.includes("of which neither may fail"), isSaid);
    });

  it("lets the highest slots leave, and never the whole control plane", () => {
    const made = planned(servers(A, 1), world(settled(A, 3), PROVED_A));
    assert.deepEqual([made.kind, made.leaving], ["scale", [nameOf(1, A), nameOf(2, A)]]);
    assert.match(
      refused(() => planRemoval(servers(A), NOTHING.observed, undefined, NOW)),
      /no control plane any more/,
    );
  });

  it("begins anew while an incomplete server is down that a former run could not take out of etcd (seed 920000136)", () => {
    const planWith = (incomplete: Held[]) => {
      const { leaving, healing } = planned(servers(A), world([...settled(A, 3), ...incomplete], PROVED_A));
      return [leaving, healing];
    };
    const incomplete: Held = { slot: 1, spec: C, phase: "made", well: false };
    assert.deepEqual(planWith([]), [[], undefined]);
    assert.deepEqual(planWith([incomplete]), [[nameOf(1, C)], NOW.toISOString()]);
    // One that is no Node yet is in no one's way, and one that is up leaves in the order of the run.
    assert.deepEqual(planWith([{ ...incomplete, node: false }]), [[nameOf(1, C)], undefined]);
    assert.deepEqual(planWith([{ ...incomplete, well: true }]), [[nameOf(1, C)], undefined]);
  });

  it("begins anew while a server is to leave: the etcd snapshot of a run that failed may be old by now", () => {
    const joined: Held = { slot: 2, spec: B, phase: "joined" };
    const held = [...settled(B, 2), ...settled(A, 1, 2), joined];
    for (const [wanted, isAnew] of [
      [servers(B), true],
      [servers(B, 2), true],
      [poolOf(B, { slots: 3 }), false],
    ] as const)
      assert.equal(planned(wanted, world(held, PROVED_A)).healing !== undefined, isAnew);
    assert.equal(planned(servers(A), world(settled(A, 3), PROVED_A)).healing, undefined);
  });

  /** A wave from A to B that failed after its first slot; the server that left it is still there, switched off. */
  const failed: Held[] = [
    { slot: 0, spec: A, phase: "retired" },
    { slot: 0, spec: B, phase: "handedOver", since: "2026-03-01T11:30:00.000Z" },
    ...settled(A, 2, 1),
  ];
  const again = { ...A, incarnation: 1 };

  it("never returns to a server that was taken out: the slot gets another one of the former content", () => {
    const back = planned(servers(A), world(failed, [...PROVED_A, [B, "rolling"]]));
    assert.equal(back.kind, "rollback");
    assert.deepEqual(
      back.slots.map(({ name }) => name),
      [nameOf(0, again), nameOf(1, A), nameOf(2, A)],
    );
    assert.deepEqual([back.target?.id, back.verdict?.generation], [ID.a, ID.a]);
    const agents = planned(poolOf(A, { slots: 3 }), world(failed, [...PROVED_A, [B, "rolling"]]));
    assert.equal(agents.slots[0]?.name, nameOf(0, A), "an agent is started again and joins anew");
  });

  it("never returns to one either that fell and was taken out before a successor held", () => {
    const fell: Held[] = [{ slot: 0, spec: A, phase: "retired" }, ...settled(A, 2, 1)];
    const made = planned(servers(B), world(fell, [...PROVED_A, [B, "failed"]]));
    assert.deepEqual([made.kind, made.slots[0]?.name], ["held", nameOf(0, again)]);
  });

  it("begins with the successor of a fallen server", () => {
    const state = world(settled(A, 3), PROVED_A);
    const nodes = state.observed.nodes.map((node) => (node.name === nameOf(2, A) ? { ...node, ready: false } : node));
    const made = planned(servers(B), { ...state, observed: { ...state.observed, nodes } });
    assert.deepEqual(
      made.slots.map(({ voterDown }) => voterDown),
      [undefined, undefined, true],
    );
  });

  it("begins with a server that has joined, fell before its handover, and keeps every other slot from changing", () => {
    const held: Held[] = [...settled(A, 3), { slot: 0, spec: B, phase: "joined" }];
    const down: Held = { slot: 2, spec: B, phase: "joined", well: false };
    const made = planned(servers(B), world([...held, down], [...PROVED_A, [B, "rolling"]]));
    assert.deepEqual(
      made.slots.map(({ voterDown }) => voterDown),
      [undefined, undefined, true],
    );
    assert.match(made.words.join("\n"), /slot 0: .*; joins after slot 2/);
  });

  it("begins with a voter that is down before a slot whose server was taken out, which holds nobody up (seed 37421691)", () => {
    const held: Held[] = [
      { slot: 0, spec: A, phase: "handedOver" },
      { slot: 1, spec: A, phase: "retired" },
      { slot: 1, spec: B, phase: "made", node: false, well: false },
      { slot: 2, spec: A, phase: "handedOver", well: false },
    ];
    const { words } = planned(servers(B), world(held, [...PROVED_A, [B, "rolling"]]));
    const joins = words.filter((line) => line.includes("joins after")).map((line) => line.replace(/: .*; /, ": "));
    assert.deepEqual(joins, ["  slot 0: joins after slot 1", "  slot 1: joins after slot 2"]);
  });

  it("begins with a voter that is down before a slot whose server has lost its Node, and with it its vote (seed 300729584)", () => {
    const state = world([...settled(A, 3)], PROVED_A);
    const nodes = state.observed.nodes.flatMap((node) =>
      node.slot === 0 ? [] : [node.slot === 2 ? { ...node, ready: false } : node],
    );
    const { words } = planned(servers(B), { ...state, observed: { ...state.observed, nodes } });
    const joins = words.filter((line) => line.includes("joins after")).map((line) => line.replace(/: .*; /, ": "));
    assert.deepEqual(joins, ["  slot 0: joins after slot 2", "  slot 1: joins after slot 0"]);
  });

  it("begins with a server that nobody recorded as joined, got into etcd all the same, and fell (edits, seed 5501648)", () => {
    const held: Held[] = [
      { slot: 0, spec: A, phase: "handedOver" },
      { slot: 0, spec: B, phase: "made", well: false },
    ];
    const { words } = planned(servers(B), world(held, [...PROVED_A, [B, "rolling"]]));
    const joins = words.filter((line) => line.includes("joins after")).map((line) => line.replace(/: .*; /, ": "));
    assert.deepEqual(joins, [
      "  slot 1: joins after the new node of slot 0",
      "  slot 2: joins after slot 1, joins after the new node of slot 0",
    ]);
  });

  it("gives a slot without a voter one before that of an owner out of etcd, whose voter stands in (edits, seed 133033621)", () => {
    const held = (isOut: boolean): Held[] => [
      { slot: 0, spec: A, phase: "handedOver", well: false, node: !isOut },
      { slot: 0, spec: C, phase: "made" },
      { slot: 0, spec: B, phase: "made", well: false },
      { slot: 1, spec: A, phase: "handedOver" },
      { slot: 2, spec: A, phase: "handedOver", well: false, node: false },
    ];
    const joins = (isOut: boolean) =>
      planned(servers(B), world(held(isOut), [...PROVED_A, [C, "rolling"], [B, "rolling"]]))
        .words.filter((line) => line.includes("after"))
        .map((line) => line.replace(/: .*?; /, ": "));
    assert.deepEqual(joins(true), [
      "  slot 0: handed over after slot 2",
      "  slot 1: joins after slot 0",
      "  slot 2: joins after the new node of slot 0",
    ]);
    // As long as etcd has the owner, nobody else gets in before it is out.
    assert.deepEqual(joins(false), ["  slot 1: joins after slot 2", "  slot 2: joins after slot 0"]);
  });

  it("begins with a fallen server that stays, too", () => {
    const state = world([...settled(A, 3), { slot: 0, spec: B, phase: "joined" }], PROVED_A);
    const nodes = state.observed.nodes.map((node) => (node.name === nameOf(2, A) ? { ...node, ready: false } : node));
    const made = planned(servers(A), { ...state, observed: { ...state.observed, nodes } });
    assert.deepEqual(
      made.slots.map(({ voterDown }) => voterDown),
      [undefined, undefined, true],
    );
  });

  it("rests on the other one, and rolls on from it", () => {
    const held: Held[] = [{ slot: 0, spec: again, phase: "handedOver" }, ...settled(A, 2, 1)];
    const known: [NodeSpec, GenerationState][] = [...PROVED_A, [again, "rolling"]];
    const rests = planned(servers(A), world(held, known));
    assert.equal(rests.kind, "steady");
    assert.deepEqual(
      rests.slots.map(({ name, replaces }) => [name, replaces]),
      [nameOf(0, again), nameOf(1, A), nameOf(2, A)].map((name) => [name, []]),
    );
    assert.equal(planned(servers(B), world(held, known)).kind, "roll");
  });

  it("goes back by itself after a verdict when onFailure says so", () => {
    const strategy = { onFailure: "rollback" } as const;
    const pool = poolOf(B, { role: "server", slots: 3, strategy });
    const back = planned(pool, world(failed, [...PROVED_A, [B, "failed"]]));
    assert.deepEqual([back.kind, back.slots[0]?.name], ["rollback", nameOf(0, again)]);
  });

  it("is held after a verdict when the way back leads to an older RKE2", () => {
    const newer = { ...B, rke2: "v1.34.5+rke2r1" };
    const held = failed.map((one) => (one.spec === B ? { ...one, spec: newer } : one));
    const pool = poolOf(newer, { role: "server", slots: 3, strategy: { onFailure: "rollback" } });
    const made = planned(pool, world(held, [...PROVED_A, [newer, "failed"]]));
    assert.deepEqual([made.kind, made.slots[0]?.name], ["held", nameOf(0, newer)]);
  });

  it("goes on with a first creation", () => {
    const made = planned(servers(A), world(settled(A, 1), [[A, "rolling"]]));
    assert.deepEqual([made.kind, made.slots.map((slot) => slot.creates)], ["create", [false, true, true]]);
  });
});

function refused(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    assert.ok(error instanceof PlanError);
    return error.message;
  }
  return assert.fail("it was not refused");
}
