import assert from "node:assert/strict";
import { planRemoval } from "../../../src/domain/rollout/plan.ts";
import type { GenerationState, NodeSpec, PlanKind, PoolPlan, PoolSpec } from "../../../src/domain/model/types.ts";
import {
  A,
  AN_HOUR_AGO,
  B,
  C,
  carriedOut,
  content,
  HALF_WAY,
  ID,
  nameOf,
  NOW,
  planned,
  poolOf,
  PROVED_A,
  settled,
  world,
  type Held,
} from "./world.ts";

describe("plan", () => {
  interface Case {
    name: string;
    pool: PoolSpec;
    held: Held[];
    states: [NodeSpec, GenerationState, string?][];
    kind: PlanKind;
    /** Generation of each slot. */
    slots: string[];
    leaving?: string[];
    target?: string | undefined;
    verdict?: string;
  }
  const { a, b, c } = ID;
  const canary = { canary: { nodes: 1 }, soakSeconds: 3600 };
  const canaryOf: Held = { slot: 0, spec: B, phase: "handedOver" };
  const soakingCanary: Held[] = [canaryOf, ...settled(A, 3, 1)];
  const cases: Case[] = [
    {
      name: "creates",
      pool: poolOf(A),
      held: [],
      states: [],
      kind: "create",
      slots: [a, a, a, a],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "creates what a first run did not reach, and tries again what failed there",
      pool: poolOf(A),
      held: [...settled(A, 1), { slot: 1, spec: A, phase: "failed", well: false }],
      states: [[A, "failed"]],
      kind: "create",
      slots: [a, a, a, a],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "rests",
      pool: poolOf(A),
      held: settled(A),
      states: PROVED_A,
      kind: "steady",
      slots: [a, a, a, a],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "rolls",
      pool: poolOf(B),
      held: settled(A),
      states: PROVED_A,
      kind: "roll",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} proved`,
    },
    {
      name: "goes on with a wave",
      pool: poolOf(B),
      held: HALF_WAY,
      states: [...PROVED_A, [B, "rolling"]],
      kind: "roll",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} proved`,
    },
    {
      name: "stops after the canary",
      pool: poolOf(B, { strategy: canary }),
      held: settled(A),
      states: PROVED_A,
      kind: "canary",
      slots: [b, a, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "rounds a percentage up",
      pool: poolOf(B, { strategy: { ...canary, canary: { percent: 30 } } }),
      held: settled(A),
      states: PROVED_A,
      kind: "canary",
      slots: [b, b, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "keeps the canaries that have come already",
      pool: poolOf(B, { strategy: { ...canary, canary: { nodes: 2 } } }),
      held: [...settled(A, 3), { slot: 3, spec: B, phase: "handedOver" }],
      states: [...PROVED_A, [B, "rolling"]],
      kind: "canary",
      slots: [b, a, a, b],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "waits for the soak",
      pool: poolOf(B, { strategy: { ...canary, soakSeconds: 3601 } }),
      held: soakingCanary,
      states: [...PROVED_A, [B, "soaking"]],
      kind: "soaking",
      slots: [b, a, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "goes on after the soak",
      pool: poolOf(B, { strategy: canary }),
      held: soakingCanary,
      states: [...PROVED_A, [B, "soaking"]],
      kind: "roll",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "does not go on when the soak ended with an ill node",
      pool: poolOf(B, { strategy: canary }),
      held: [{ slot: 0, spec: B, phase: "handedOver", well: false }, ...settled(A, 3, 1)],
      states: [...PROVED_A, [B, "soaking"]],
      kind: "soaking",
      slots: [b, a, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "counts the soak from the last node that came",
      pool: poolOf(B, { strategy: canary }),
      held: [{ slot: 0, spec: B, phase: "handedOver", since: "2026-03-01T11:30:00.000Z" }, ...settled(A, 3, 1)],
      states: [...PROVED_A, [B, "soaking"]],
      kind: "soaking",
      slots: [b, a, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "counts the soak anew from when a node of it has come back",
      pool: poolOf(B, { strategy: canary }),
      held: [{ ...canaryOf, readySince: "2026-03-01T11:00:01.000Z" }, ...settled(A, 3, 1)],
      states: [...PROVED_A, [B, "soaking"]],
      kind: "soaking",
      slots: [b, a, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "does not count the soak anew for a node that was Ready from its beginning",
      pool: poolOf(B, { strategy: canary }),
      held: [{ ...canaryOf, readySince: AN_HOUR_AGO }, ...settled(A, 3, 1)],
      states: [...PROVED_A, [B, "soaking"]],
      kind: "roll",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "goes on with a wave that was past its canary",
      pool: poolOf(B, { strategy: canary }),
      held: [
        ...settled(B, 1),
        { slot: 1, spec: B, phase: "handedOver", since: NOW.toISOString() },
        ...settled(A, 2, 2),
      ],
      states: [...PROVED_A, [B, "soaking", "2026-03-01T10:00:00.000Z"]],
      kind: "roll",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "waits for the soak of a canary that was taken back and begun again, with a second one that has come since",
      pool: poolOf(B, { strategy: { ...canary, soakSeconds: 7200 } }),
      held: [
        ...settled(B, 1),
        { slot: 1, spec: B, phase: "handedOver", since: NOW.toISOString() },
        ...settled(A, 2, 2),
      ],
      states: [...PROVED_A, [B, "soaking", "2026-03-01T09:30:00.000Z"]],
      kind: "soaking",
      slots: [b, b, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "waits for the soak also when the canary has more slots than the configuration asks for by now",
      pool: poolOf(B, { strategy: { ...canary, soakSeconds: 3601 } }),
      held: [...settled(B, 2), ...settled(A, 2, 2)],
      states: [...PROVED_A, [B, "soaking"]],
      kind: "soaking",
      slots: [b, b, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "soaks what a run has left that knew no canary",
      pool: poolOf(B, { strategy: canary }),
      held: [...settled(B, 2), ...settled(A, 2, 2)],
      states: [...PROVED_A, [B, "rolling"]],
      kind: "canary",
      slots: [b, b, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "takes the slot of a node that is down for the canary",
      pool: poolOf(B, { strategy: canary }),
      held: [...settled(A, 2), { slot: 2, spec: A, phase: "handedOver", well: false }, ...settled(A, 1, 3)],
      states: PROVED_A,
      kind: "canary",
      slots: [a, a, b, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "goes back at once from what was tried since, although it soaked itself",
      pool: poolOf(B, { strategy: { ...canary, soakSeconds: 86_400 } }),
      held: [
        { slot: 0, spec: C, phase: "handedOver", since: "2026-03-01T11:30:00.000Z", well: false },
        ...settled(B, 3, 1),
      ],
      states: [...PROVED_A, [B, "soaking"], [C, "failed", "2026-03-01T11:40:00.000Z"]],
      kind: "roll",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "soaks the canary also when the generation before it is judged failed meanwhile",
      pool: poolOf(B, { strategy: { ...canary, soakSeconds: 86_400 } }),
      held: [{ slot: 0, spec: B, phase: "handedOver" }, ...settled(A, 3, 1)],
      states: [
        [B, "soaking"],
        [A, "failed", "2026-03-01T11:40:00.000Z"],
      ],
      kind: "soaking",
      slots: [b, a, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "starts with the canary again when nothing is left of the first try",
      pool: poolOf(B, { strategy: canary }),
      held: settled(A),
      states: [...PROVED_A, [B, "soaking"]],
      kind: "canary",
      slots: [b, a, a, a],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "soaks the whole pool",
      pool: poolOf(B, { strategy: { soakSeconds: 3601 } }),
      held: settled(B),
      states: [...PROVED_A, [B, "soaking"]],
      kind: "soaking",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "proves the pool after its soak",
      pool: poolOf(B, { strategy: { soakSeconds: 3600 } }),
      held: settled(B),
      states: [...PROVED_A, [B, "soaking"]],
      kind: "steady",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} proved`,
    },
    {
      name: "lets a long soak begin although a killed run did not say so",
      pool: poolOf(B, { strategy: { soakSeconds: 3600 } }),
      held: settled(B),
      states: [...PROVED_A, [B, "rolling"]],
      kind: "steady",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} soaking`,
    },
    {
      name: "waits for a short soak inside the run",
      pool: poolOf(B, { strategy: { soakSeconds: 30 } }),
      held: settled(A),
      states: PROVED_A,
      kind: "roll",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} proved after 30`,
    },
    {
      name: "holds what was judged failed: slots stay, incomplete nodes leave",
      pool: poolOf(B),
      held: HALF_WAY,
      states: [...PROVED_A, [B, "failed"]],
      kind: "held",
      slots: [b, a, a, a],
      leaving: [nameOf(1, B)],
      target: undefined,
    },
    {
      name: "gives a slot without a node what held before, never what failed",
      pool: poolOf(B, { slots: 5 }),
      held: HALF_WAY,
      states: [...PROVED_A, [B, "failed"]],
      kind: "held",
      slots: [b, a, a, a, a],
      leaving: [nameOf(1, B)],
      target: undefined,
    },
    {
      name: "goes back by itself where the pool says so",
      pool: poolOf(B, { strategy: { onFailure: "rollback" } }),
      held: HALF_WAY,
      states: [...PROVED_A, [B, "failed"]],
      kind: "rollback",
      slots: [a, a, a, a],
      leaving: [nameOf(1, B)],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "goes back to the last that was proved",
      pool: poolOf(C, { strategy: { onFailure: "rollback" } }),
      held: [...settled(B, 2), ...settled(C, 2, 2)],
      states: [
        [B, "proved", "2026-02-02T00:00:00.000Z"],
        [A, "proved", "2026-01-01T00:00:00.000Z"],
        [C, "failed"],
      ],
      kind: "rollback",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} proved`,
    },
    {
      name: "is held after it went back",
      pool: poolOf(B, { strategy: { onFailure: "rollback" } }),
      held: settled(A),
      states: [...PROVED_A, [B, "failed"]],
      kind: "held",
      slots: [a, a, a, a],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "holds where there is nothing to go back to",
      pool: poolOf(B, { strategy: { onFailure: "rollback" } }),
      held: HALF_WAY,
      states: [
        [A, "rolling"],
        [B, "failed"],
      ],
      kind: "held",
      slots: [b, a, a, a],
      leaving: [nameOf(1, B)],
      target: undefined,
    },
    {
      name: "rolls to a third generation after a failure",
      pool: poolOf(C),
      held: HALF_WAY,
      states: [...PROVED_A, [B, "failed"]],
      kind: "roll",
      slots: [c, c, c, c],
      leaving: [nameOf(1, B)],
      target: c,
      verdict: `${c} proved`,
    },
    {
      name: "reverts in the middle of a wave, without canary and soak",
      pool: poolOf(A, { strategy: canary }),
      held: HALF_WAY,
      states: [...PROVED_A, [B, "rolling"]],
      kind: "rollback",
      slots: [a, a, a, a],
      leaving: [nameOf(1, B)],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "scales out wide",
      pool: poolOf(A, { slots: 6 }),
      held: settled(A),
      states: PROVED_A,
      kind: "scale",
      slots: [a, a, a, a, a, a],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "scales in from the top",
      pool: poolOf(A, { slots: 2 }),
      held: settled(A),
      states: PROVED_A,
      kind: "scale",
      slots: [a, a],
      leaving: [nameOf(2, A), nameOf(3, A)],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "scales in and rolls",
      pool: poolOf(B, { slots: 2 }),
      held: settled(A),
      states: PROVED_A,
      kind: "roll",
      slots: [b, b],
      leaving: [nameOf(2, A), nameOf(3, A)],
      target: b,
      verdict: `${b} proved`,
    },
    {
      name: "clears a VM that was made for nobody",
      pool: poolOf(A),
      held: [...settled(A), { slot: 2, spec: C, phase: "unrecorded", node: false, well: false }],
      states: PROVED_A,
      kind: "steady",
      slots: [a, a, a, a],
      leaving: [nameOf(2, C)],
      target: a,
      verdict: `${a} proved`,
    },
    {
      name: "takes a joined node for the owner when no handover ever ran",
      pool: poolOf(B),
      held: [0, 1, 2, 3].map((slot) => ({ slot, spec: A, phase: "joined" })),
      states: [[A, "rolling"]],
      kind: "roll",
      slots: [b, b, b, b],
      target: b,
      verdict: `${b} proved`,
    },
  ];
  for (const one of cases) {
    it(one.name, () => {
      const made = planned(one.pool, world(one.held, one.states));
      assert.equal(made.kind, one.kind);
      assert.deepEqual(
        made.slots.map((slot) => slot.generation.id),
        one.slots,
      );
      assert.deepEqual(made.leaving, one.leaving ?? []);
      assert.equal(made.target?.id, one.target);
      assert.equal(verdictOf(made), one.verdict);
      assert.deepEqual(
        made.slots.map((slot) => slot.slot),
        one.slots.map((_, slot) => slot),
      );
    });
  }

  it("names what each slot replaces, the retired ones of a failed run too", () => {
    const made = planned(poolOf(B), world(HALF_WAY, [...PROVED_A, [B, "rolling"]]));
    assert.deepEqual(
      made.slots.map((slot) => slot.replaces),
      [[nameOf(0, A)], [nameOf(1, A)], [nameOf(2, A)], [nameOf(3, A)]],
    );
    assert.deepEqual(
      made.slots.map((slot) => slot.creates),
      [false, false, true, true],
    );
  });

  it("starts a retired VM again when it goes back to it", () => {
    const made = planned(poolOf(A), world(HALF_WAY, [...PROVED_A, [B, "rolling"]]));
    assert.equal(made.slots[0]?.creates, false);
    assert.equal(made.slots[0].vmid, 1100);
    assert.deepEqual(made.slots[0].replaces, [nameOf(0, B)]);
  });

  it("heals a node that was switched off, and says so", () => {
    const well = planned(poolOf(A), world(settled(A), PROVED_A));
    const held = settled(A).map((one) => (one.slot === 2 ? { ...one, well: false } : one));
    const made = planned(poolOf(A), world(held, PROVED_A));
    assert.deepEqual(made.unhealthy, [nameOf(2, A)]);
    assert.notEqual(made.digest, well.digest);
    assert.match(made.words.join("\n"), new RegExp(`${nameOf(2, A)} does not serve`));
  });

  it("heals a node that has joined and fell before its slot was handed to it", () => {
    const held: Held[] = [...settled(A), { slot: 0, spec: B, phase: "joined", well: false }];
    const made = planned(poolOf(B), world(held, [...PROVED_A, [B, "rolling"]]));
    assert.deepEqual(made.unhealthy, [nameOf(0, B)]);
  });

  it("lets an incomplete node that runs stand in until the owner of its slot is back, and counts both", () => {
    const replacedBy = (held: Held[]) => {
      const made = planned(poolOf(A), world(held, [...PROVED_A, [B, "rolling"]]));
      return [made.slots[2]?.replaces, made.leaving];
    };
    const fallen = settled(A).map((one) => (one.slot === 2 ? { ...one, well: false } : one));
    const incomplete: Held = { slot: 2, spec: B, phase: "joined" };
    assert.deepEqual(replacedBy([...fallen, incomplete]), [[nameOf(2, B)], []]);
    assert.deepEqual(replacedBy([...fallen, { ...incomplete, well: false }]), [[], [nameOf(2, B)]]);
    assert.deepEqual(replacedBy([...settled(A), incomplete]), [[], [nameOf(2, B)]]);
  });

  it("lets an incomplete node that is Ready, or may be by now, stand in where no node has had the slot: it may have pods", () => {
    const replacedBy = (incomplete: Partial<Held>) => {
      const held: Held[] = [...settled(A, 3), { slot: 3, spec: A, phase: "made", ...incomplete }];
      const made = planned(poolOf(B), world(held, PROVED_A));
      return [made.slots[3]?.replaces, made.leaving];
    };
    assert.deepEqual(replacedBy({}), [[nameOf(3, A)], []]);
    assert.deepEqual(replacedBy({ phase: "failed" }), [[nameOf(3, A)], []]);
    assert.deepEqual(replacedBy({ node: false }), [[nameOf(3, A)], []]);
    assert.deepEqual(replacedBy({ node: false, phase: "failed" }), [[], [nameOf(3, A)]]);
    assert.deepEqual(replacedBy({ well: false }), [[], [nameOf(3, A)]]);
  });

  it("joins a node again that runs, is no Node and is in no record, as one that is newer than a restored snapshot", () => {
    const forgotten: Held = { slot: 3, spec: A, phase: "unrecorded", node: false };
    const well = planned(poolOf(A), world(settled(A), PROVED_A));
    const made = planned(poolOf(A), world([...settled(A, 3), { ...forgotten, well: true }], PROVED_A));
    assert.deepEqual(made.unhealthy, [nameOf(3, A)]);
    assert.notEqual(made.digest, well.digest);
    // One that is off was cloned by a run that ended before its join, and that join is still to come.
    const cloned = planned(poolOf(A), world([...settled(A, 3), { ...forgotten, well: false }], PROVED_A));
    assert.deepEqual(cloned.unhealthy, []);
  });

  it("begins with a slot whose node was judged when it could not be brought back: nobody else serves there", () => {
    const fallenIn = (more: Partial<Held>) => {
      const held = settled(A).map((one) => (one.slot === 2 ? { ...one, ...more } : one));
      const { slots } = planned(poolOf(B), world(held, PROVED_A));
      return slots.flatMap(({ slot, down }) => (down ? [slot] : []));
    };
    assert.deepEqual(fallenIn({ phase: "failed", well: false }), [2]);
    assert.deepEqual(fallenIn({ phase: "failed" }), []);
    // A first node that is not a member yet has left nobody without one.
    assert.deepEqual(fallenIn({ phase: "made", well: false }), []);
  });

  it("runs every step anew for nodes with other registries than the configured ones, until they have them", () => {
    const before = world(settled(A, 4), PROVED_A);
    const quiet = planned(poolOf(A), before);
    assert.equal(quiet.reloads, undefined);
    assert.match(quiet.words.join("\n"), /nothing to do/);
    const outdated = new Set([nameOf(2, A), nameOf(0, A), "demo-servers-0-00000000"]);
    const plan = planned(poolOf(A), { ...before, observed: { ...before.observed, outdated } });
    assert.deepEqual(plan.reloads, [nameOf(0, A), nameOf(2, A)]);
    assert.notEqual(plan.digest, quiet.digest);
    assert.doesNotMatch(plan.words.join("\n"), /nothing to do/);
    assert.match(plan.words.join("\n"), /the registries change in place, first of all: RKE2 restarts, pods stay/);
    const after = planned(poolOf(A), carriedOut(poolOf(A), before, plan, NOW));
    assert.deepEqual([after.reloads, after.digest], [undefined, plan.digest]);
  });

  it("never takes the healing of one run for that of the next: a node may have fallen again", () => {
    const held = settled(A).map((one) => (one.slot === 2 ? { ...one, well: false } : one));
    const digestAt = (now: Date) => planned(poolOf(A), world(held, PROVED_A), now).digest;
    assert.notEqual(digestAt(new Date("2026-03-01T12:00:00Z")), digestAt(new Date("2026-03-01T12:10:00Z")));
  });

  it("finds nothing to do once everybody is healed", () => {
    const held = settled(A).map((one) => (one.slot === 2 ? { ...one, well: false } : one));
    const before = world(held, PROVED_A);
    const pool = poolOf(A);
    const healing = planned(pool, before, new Date("2026-03-01T12:00:00Z"));
    const after = carriedOut(pool, before, healing, new Date("2026-03-01T12:05:00Z"));
    after.observed.vms.forEach((vm) => (vm.running = true));
    after.observed.nodes.forEach((node) => (node.ready = true));
    assert.equal(planned(pool, after, new Date("2026-03-01T13:00:00Z")).digest, healing.digest);
  });

  it("refuses to let a node stay that nobody can describe", () => {
    const stranger = content("v9.9.9");
    const pool = poolOf(B, { strategy: canary });
    assert.throws(
      () => planned(pool, world([...settled(A, 3), ...settled(stranger, 1, 3)], PROVED_A)),
      /nobody remembers what its generation/,
    );
  });

  it("refuses a range without room for both colours", () => {
    const pool = poolOf(B, { range: { first: 1100, last: 1106 } });
    assert.throws(
      () => planned(pool, world(settled(A), PROVED_A)),
      /4 new VMs of pool workers need a VMID and 3 are free/,
    );
  });
});

describe("plan of a pool that left the configuration", () => {
  it("lets all of it leave", () => {
    const { observed, record } = world(HALF_WAY, PROVED_A);
    const made = planRemoval({ name: "workers", role: "agent" }, observed, record, NOW);
    assert.equal(made.kind, "remove");
    assert.deepEqual(made.leaving.toSorted(), observed.vms.map((vm) => vm.name).toSorted());
    assert.deepEqual([made.slots, made.verdict, made.wanted], [[], undefined, undefined]);
    assert.match(made.words[0] ?? "", /^remove workers: it left the configuration, 6 nodes leave/);
  });
});

function verdictOf({ verdict }: PoolPlan): string | undefined {
  if (verdict === undefined) return undefined;
  const watched = verdict.watchSeconds === undefined ? "" : ` after ${verdict.watchSeconds}`;
  return `${verdict.generation} ${verdict.state}${watched}`;
}
