import assert from "node:assert/strict";
import fc from "fast-check";
import { generationOf } from "../../../src/domain/model/generation.ts";
import { order, type SlotOrder } from "../../../src/domain/rollout/order.ts";
import { nodesOf } from "../../../src/domain/rollout/decision.ts";
import { slotStates } from "../../../src/domain/rollout/slot-state.ts";
import type {
  GenerationState,
  NodeSpec,
  PoolPlan,
  PoolSpec,
  SlotPhase,
  Strategy,
} from "../../../src/domain/model/types.ts";
import { A, B, C, carriedOut, NOW, planned, poolOf, settled, world, type Held, type World } from "./world.ts";

interface Case {
  pool: PoolSpec;
  at: World;
}

const LATER = new Date(NOW.getTime() + 24 * 3_600_000);

describe("plan, in any situation", () => {
  it("keeps, replaces or lets go every live node, each exactly once", () => {
    fc.assert(
      fc.property(anyCase(), ({ pool, at }) => {
        const made = planned(pool, at);
        const fates = [...made.slots.flatMap((slot) => [slot.name, ...slot.replaces]), ...made.leaving];
        assert.equal(new Set(fates).size, fates.length, "a node has two fates");
        const living = at.observed.vms.map((vm) => vm.name);
        assert.deepEqual(
          living.filter((name) => !fates.includes(name)),
          [],
        );
        const invented = fates.filter((name) => !living.includes(name));
        assert.deepEqual(
          invented,
          made.slots.filter((slot) => slot.creates).map((slot) => slot.name),
        );
      }),
    );
  });

  it("gives no slot to a generation that failed, as long as there is another", () => {
    fc.assert(
      fc.property(anyCase(), ({ pool, at }) => {
        const made = planned(pool, at);
        const failed = at.record?.generations.filter((one) => one.state === "failed").map((one) => one.id) ?? [];
        const states = slotStates(at.observed, at.record);
        const better = at.record?.generations.some((one) => one.state === "proved") ?? false;
        for (const slot of made.slots) {
          const owner = states.get(slot.slot)?.owner?.generation;
          if (better && failed.includes(slot.generation.id)) assert.equal(owner, slot.generation.id);
        }
      }),
    );
  });

  it("comes to rest: once carried out, the same plan changes nothing more", () => {
    fc.assert(
      fc.property(anyCase(), ({ pool, at }) => {
        const first = planned(pool, at);
        const after = carriedOut(pool, at, first, NOW);
        const second = planned(pool, after);
        if (second.kind === "roll") {
          assert.ok(["canary", "soaking"].includes(first.kind), "only a canary is gone on with");
          return;
        }
        assert.deepEqual(
          second.slots.filter((slot) => slot.creates || slot.replaces.length > 0 || moved(slot, after)),
          [],
        );
        assert.deepEqual([second.leaving, second.unhealthy], [[], []]);
        assert.ok(["steady", "held", "soaking"].includes(second.kind), second.kind);
        if (first.unhealthy.length === 0) assert.equal(second.digest, first.digest);
      }),
    );
  });

  it("reaches what is wanted, run by run, unless it is held", () => {
    fc.assert(
      fc.property(anyCase(), ({ pool, at }) => {
        let now = at;
        let time = NOW;
        const kinds: string[] = [];
        for (let run = 0; run < 6; run++) {
          const made = planned(pool, now, time);
          kinds.push(made.kind);
          now = carriedOut(pool, now, made, time);
          time = new Date(time.getTime() + 2 * 3_600_000);
        }
        const last = planned(pool, now, time);
        assert.ok(["steady", "held"].includes(last.kind), kinds.join(" "));
        if (last.kind === "held") return;
        const wanted = generationOf(pool.node).id;
        assert.ok(last.slots.every((slot) => slot.generation.id === wanted));
        // A pool without nodes proves nothing.
        if (pool.slots === 0) assert.equal(last.verdict, undefined);
        else assert.equal(now.record?.generations.find((one) => one.id === wanted)?.state, "proved");
      }),
    );
  });

  it("moves no more slots than the canary before its soak", () => {
    fc.assert(
      fc.property(anyCase(), ({ pool, at }) => {
        const made = planned(pool, at);
        const { canary } = pool.strategy;
        if (made.kind !== "canary" && made.kind !== "soaking") return;
        const states = slotStates(at.observed, at.record);
        // A slot that nobody owns disturbs nobody, whatever it gets.
        const owned = made.slots.filter((slot) => states.get(slot.slot)?.owner !== undefined);
        const wanted = owned.filter((slot) => slot.generation.id === made.wanted?.id).length;
        const before = owned.filter(({ slot }) => states.get(slot)?.owner?.line === made.wanted?.id).length;
        const most = canary === undefined ? owned.length : Math.max(before, nodesOf(canary, pool.slots));
        assert.ok(wanted === owned.length || (canary !== undefined && wanted <= most));
      }),
    );
  });

  it("has never fewer than slots - maxUnavailable serving, whatever order the edges allow", () => {
    const rolls = fc.record({
      slots: fc.integer({ min: 0, max: 9 }),
      strategy: anyStrategy(),
      done: fc.nat(9),
      choices: fc.infiniteStream(fc.nat()),
    });
    fc.assert(
      fc.property(rolls, ({ slots, strategy, done, choices }) => {
        const pool = poolOf(B, { slots, strategy });
        const begun = Math.min(done, slots);
        const held = [...settled(B, begun), ...settled(A, slots - begun, begun)];
        const made = planned(
          pool,
          world(held, [
            [A, "proved"],
            [B, "rolling"],
          ]),
        );
        const least = slots - mostOut(made, () => Number(choices.next().value));
        assert.ok(least >= slots - strategy.maxUnavailable, `${least} of ${slots} serve`);
      }),
    );
  });

  it("does not depend on the order in which the APIs answer", () => {
    fc.assert(
      fc.property(anyCase(), ({ pool, at }) => {
        const { observed, record } = at;
        const turned: World = {
          observed: {
            vms: observed.vms.toReversed(),
            nodes: observed.nodes.toReversed(),
            takenVmids: observed.takenVmids.toReversed(),
          },
          record: record && {
            ...record,
            nodes: record.nodes.toReversed(),
            generations: record.generations.toReversed(),
          },
        };
        assert.deepEqual(planned(pool, turned), planned(pool, at));
      }),
    );
  });
});

describe("digest", () => {
  const base = poolOf(B);
  const at = world(settled(A), [[A, "proved"]]);
  const digest = (pool: PoolSpec, given = at, now = NOW) => planned(pool, given, now).digest;

  const same: [string, () => string][] = [
    ["time passes", () => digest(base, at, LATER)],
    ["labels are spelled in another order", () => digest(poolOf({ ...B, labels: {} }))],
    ["the VMs of the plan were made", () => digest(base, made())],
  ];
  for (const [what, other] of same) it(`stays when ${what}`, () => assert.equal(other(), digest(base)));

  const different: [string, () => string][] = [
    ["the content changes", () => digest(poolOf(C))],
    ["a slot comes", () => digest(poolOf(B, { slots: 5 }))],
    [
      "the VMIDs move",
      () => digest(poolOf(B, { range: { ...base.range, first: 1150, firstAddress: "127.40.0.151" } })),
    ],
    ["the addresses move", () => digest(poolOf(B, { range: { ...base.range, firstAddress: "127.40.1.101" } }))],
    ["the strategy changes", () => digest(poolOf(B, { strategy: { maxUnavailable: 2 } }))],
    ["the pool is another", () => digest(poolOf(B, { name: "others" }), { observed: at.observed, record: undefined })],
    [
      "the wave is held",
      () =>
        digest(
          base,
          world(settled(A), [
            [A, "proved"],
            [B, "failed"],
          ]),
        ),
    ],
  ];
  for (const [what, other] of different) it(`changes when ${what}`, () => assert.notEqual(other(), digest(base)));

  function made(): World {
    const fresh = planned(base, at).slots.map((slot): Held => ({
      slot: slot.slot,
      spec: B,
      phase: "unrecorded",
      // A clone is off until its join starts it.
      well: false,
      node: false,
    }));
    return world([...settled(A), ...fresh], [[A, "proved"]]);
  }
});

function moved(slot: PoolPlan["slots"][number], at: World): boolean {
  return !at.observed.vms.some((vm) => vm.name === slot.name && vm.vmid === slot.vmid);
}

/** Plays joins and handovers in an order that the edges allow; the most slots that were out at once. */
function mostOut(plan: PoolPlan, choose: () => number): number {
  const moving = new Set(plan.slots.filter((slot) => slot.replaces.length > 0).map((slot) => slot.slot));
  const waiting = new Map<number, SlotOrder>(order(plan).map((one) => [one.slot, one]));
  const out = new Set<number>();
  const done = new Set<number>();
  let most = 0;
  while (waiting.size > 0 || out.size > 0) {
    const ready = [...waiting.values()].filter((one) => [...one.vm, ...one.handover].every((slot) => done.has(slot)));
    const events = [...ready.map((one) => () => begin(one.slot)), ...[...out].map((slot) => () => end(slot))];
    const event = events[choose() % Math.max(1, events.length)];
    assert.ok(event, "the edges wait for each other");
    event();
    most = Math.max(most, out.size);
  }
  return most;

  function begin(slot: number): void {
    waiting.delete(slot);
    if (moving.has(slot)) out.add(slot);
    else done.add(slot);
  }

  function end(slot: number): void {
    out.delete(slot);
    done.add(slot);
  }
}

function anyStrategy(): fc.Arbitrary<Strategy> {
  return fc.record({
    kind: fc.constantFrom("rolling" as const, "blueGreen" as const),
    surge: fc.integer({ min: 1, max: 4 }),
    maxUnavailable: fc.integer({ min: 1, max: 4 }),
    soakSeconds: fc.constantFrom(0, 60, 3600),
    onFailure: fc.constantFrom("hold" as const, "rollback" as const),
    canary: fc.oneof(
      fc.record({ nodes: fc.integer({ min: 1, max: 3 }) }),
      fc.record({ percent: fc.integer({ min: 1, max: 100 }) }),
    ),
  });
}

/** Any mixture of generations, phases and states, as bad as failed and killed runs can leave it, but remembered. */
function anyCase(): fc.Arbitrary<Case> {
  const spec = fc.constantFrom<NodeSpec>(A, B, C);
  const member = fc.record({
    slot: fc.nat(6),
    spec,
    phase: fc.constantFrom<SlotPhase | "unrecorded">(
      "made",
      "joined",
      "handedOver",
      "handedOver",
      "failed",
      "retired",
      "unrecorded",
    ),
    well: fc.boolean(),
    node: fc.boolean(),
    since: fc.integer({ min: 0, max: 59 }).map((minute) => `2026-03-01T11:${String(minute).padStart(2, "0")}:00.000Z`),
  });
  const state = fc.constantFrom<GenerationState>("rolling", "soaking", "proved", "failed");
  return fc
    .record({
      held: fc.uniqueArray(member, { selector: (one) => `${one.slot} ${one.spec.image}`, maxLength: 14 }),
      states: fc.tuple(state, state, state),
      wanted: spec,
      slots: fc.integer({ min: 0, max: 6 }),
      strategy: anyStrategy(),
    })
    .map(({ held, states: [a, b, c], wanted, slots, strategy }) => ({
      pool: poolOf(wanted, { slots, strategy }),
      at: world(held, [
        [A, a],
        [B, b, "2026-03-01T11:20:00.000Z"],
        [C, c, "2026-03-01T11:40:00.000Z"],
      ]),
    }));
}
