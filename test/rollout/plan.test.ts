import assert from "node:assert/strict";
import { planRemoval } from "../../rollout/plan.ts";
import type { GenerationState, NodeSpec, PlanKind, PoolPlan, PoolSpec } from "../../rollout/types.ts";
import {
  A,
  B,
  C,
  carriedOut,
  content,
  ID,
  nameOf,
  NOTHING,
  NOW,
  planned,
  poolOf,
  PROVED_A,
  settled,
  world,
  type Held,
} from "./world.ts";

/** A wave from A to B that stopped: slot 0 is handed over, slot 1 has its new node, slots 2 and 3 have only the old. */
const HALF_WAY: Held[] = [
  { slot: 0, spec: A, phase: "retired" },
  { slot: 0, spec: B, phase: "handedOver", since: "2026-03-01T11:30:00.000Z" },
  { slot: 1, spec: A, phase: "handedOver" },
  { slot: 1, spec: B, phase: "joined", since: "2026-03-01T11:30:00.000Z" },
  ...settled(A, 2, 2),
];

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
  const soakingCanary: Held[] = [{ slot: 0, spec: B, phase: "handedOver" }, ...settled(A, 3, 1)];
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
      name: "goes on with a wave that was past its canary",
      pool: poolOf(B, { strategy: canary }),
      held: [...settled(B, 2), ...settled(A, 2, 2)],
      states: [...PROVED_A, [B, "soaking", NOW.toISOString()]],
      kind: "roll",
      slots: [b, b, b, b],
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
      name: "holds what was judged failed: slots stay, half-made nodes leave",
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
    assert.deepEqual(made.unwell, [nameOf(2, A)]);
    assert.notEqual(made.digest, well.digest);
    assert.match(made.words.join("\n"), new RegExp(`${nameOf(2, A)} does not serve`));
  });

  it("heals a node that has joined and fell before its slot was handed to it", () => {
    const held: Held[] = [...settled(A), { slot: 0, spec: B, phase: "joined", well: false }];
    const made = planned(poolOf(B), world(held, [...PROVED_A, [B, "rolling"]]));
    assert.deepEqual(made.unwell, [nameOf(0, B)]);
  });

  it("joins a node again that runs, is no Node and is in no record, as one that is newer than a restored snapshot", () => {
    const forgotten: Held = { slot: 3, spec: A, phase: "unrecorded", node: false };
    const well = planned(poolOf(A), world(settled(A), PROVED_A));
    const made = planned(poolOf(A), world([...settled(A, 3), { ...forgotten, well: true }], PROVED_A));
    assert.deepEqual(made.unwell, [nameOf(3, A)]);
    assert.notEqual(made.digest, well.digest);
    // One that is off was cloned by a run that ended before its join, and that join is still to come.
    const cloned = planned(poolOf(A), world([...settled(A, 3), { ...forgotten, well: false }], PROVED_A));
    assert.deepEqual(cloned.unwell, []);
  });

  it("never takes the healing of one run for that of the next: a node may have fallen again", () => {
    const held = settled(A).map((one) => (one.slot === 2 ? { ...one, well: false } : one));
    const digestAt = (now: Date) => planned(poolOf(A), world(held, PROVED_A), now).digest;
    assert.notEqual(digestAt(new Date("2026-03-01T12:00:00Z")), digestAt(new Date("2026-03-01T12:10:00Z")));
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
    const { live, record } = world(HALF_WAY, PROVED_A);
    const made = planRemoval({ name: "workers", role: "agent" }, live, record);
    assert.equal(made.kind, "remove");
    assert.deepEqual(made.leaving.toSorted(), live.vms.map((vm) => vm.name).toSorted());
    assert.deepEqual([made.slots, made.verdict, made.wanted], [[], undefined, undefined]);
    assert.match(made.words[0] ?? "", /^remove workers: it left the configuration, 6 nodes leave/);
  });
});

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

describe("a pool's life", () => {
  it("goes from creation through canary and soak to proof, with one change of plan per decision", () => {
    const strategy = { canary: { nodes: 1 }, soakSeconds: 3600 };
    const at = (hours: number) => new Date(NOW.getTime() + hours * 3_600_000);
    const first = planned(poolOf(A, { strategy }), NOTHING, at(0));
    let now = carriedOut(poolOf(A, { strategy }), NOTHING, first, at(0));
    const kinds: string[] = [first.kind];
    const step = (node: NodeSpec, hours: number): PoolPlan => {
      const made = planned(poolOf(node, { strategy }), now, at(hours));
      now = carriedOut(poolOf(node, { strategy }), now, made, at(hours));
      kinds.push(made.kind);
      return made;
    };
    const soaking = step(A, 0.5);
    const proved = step(A, 1.1);
    assert.equal(soaking.digest, first.digest);
    assert.equal(proved.digest, first.digest);
    const canary = step(B, 2);
    assert.equal(step(B, 2.5).digest, canary.digest);
    const roll = step(B, 3.1);
    assert.notEqual(roll.digest, canary.digest);
    assert.equal(step(B, 3.2).digest, roll.digest);
    step(B, 4.2);
    step(B, 5);
    const back = step(A, 6);
    assert.equal(step(A, 6.1).digest, back.digest);
    assert.deepEqual(kinds, [
      ...["create", "soaking", "steady"],
      ...["canary", "soaking", "roll", "soaking", "steady", "steady"],
      ...["rollback", "steady"],
    ]);
    assert.deepEqual(
      now.record?.generations.map((one) => one.state),
      ["proved", "proved"],
    );
  });
});

function verdictOf({ verdict }: PoolPlan): string | undefined {
  if (verdict === undefined) return undefined;
  const watched = verdict.watchSeconds === undefined ? "" : ` after ${verdict.watchSeconds}`;
  return `${verdict.generation} ${verdict.state}${watched}`;
}
