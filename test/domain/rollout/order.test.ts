import assert from "node:assert/strict";
import fc from "fast-check";
import { downFirst, openFirst, order, roomOf, type SlotOrder } from "../../../src/domain/rollout/order.ts";
import type { PoolPlan, Role, SlotPlan, Strategy } from "../../../src/domain/model/types.ts";

const SPEC = { image: "i-v1.0.0", rke2: "v1.34.4+rke2r1", cores: 1, memoryMiB: 1024, diskGiB: 10 };

describe("order", () => {
  it("rolls with a sliding window", () => {
    const [first, second, third, fourth] = order(
      plan("rolling", [true, true, true, true], { surge: 2, maxUnavailable: 1 }),
    );
    assert.deepEqual(first, { slot: 0, clone: [], vm: [], join: [], gate: false, handover: [] });
    assert.deepEqual(second, { slot: 1, clone: [], vm: [], join: [], gate: false, handover: [0] });
    assert.deepEqual(third, { slot: 2, clone: [0], vm: [], join: [0], gate: false, handover: [1] });
    assert.deepEqual(fourth, { slot: 3, clone: [1], vm: [], join: [1], gate: false, handover: [2] });
  });

  it("brings all of green before any of blue leaves", () => {
    const edges = order(plan("blueGreen", [true, true, true], { surge: 3, maxUnavailable: 2 }));
    assert.deepEqual(
      edges.map((edge) => edge.vm),
      [[], [], []],
    );
    assert.deepEqual(
      edges.map((edge) => edge.gate),
      [true, true, true],
    );
    assert.deepEqual(
      edges.map((edge) => edge.handover),
      [[], [], [0]],
    );
  });

  it("counts a slot as out when its own node is on a silent host, and not for one that it had before", () => {
    const { slots, strategy } = plan("rolling", [true, true, true], { surge: 1, maxUnavailable: 2 });
    const with0 = (own: boolean) =>
      slots.map((one) => (one.slot === 0 ? { ...one, unreachable: { host: "pve2", own } } : one));
    assert.deepEqual(
      [roomOf(slots, strategy), roomOf(with0(true), strategy), roomOf(with0(false), strategy)],
      [2, 1, 2],
    );
  });

  it("names who comes first for being down among agents alone: of servers that is no matter of serving pods", () => {
    const fallen = (role: Role) => {
      const { slots } = plan("rolling", [true, true], { surge: 1, maxUnavailable: 1 }, role);
      return downFirst({
        role,
        slots: slots.map((one) => ({ ...one, ...(one.slot === 1 ? { down: true as const } : {}) })),
      });
    };
    assert.deepEqual([fallen("agent"), fallen("server")], [[1], []]);
  });

  it("has the handovers of a pool wait for one that an earlier run has not ended, though its old node is gone", () => {
    const { slots, strategy } = plan("rolling", [true, true, false], { surge: 1, maxUnavailable: 1 });
    const opened = slots.map((one) => ({ ...one, ...(one.slot === 2 ? { open: true as const } : {}) }));
    const edges = order({ role: "agent", strategy, slots: opened });
    assert.deepEqual(
      edges.map(({ slot, handover }) => [slot, handover]),
      [
        [2, []],
        [0, [2]],
        [1, [0]],
      ],
    );
    assert.deepEqual(openFirst({ slots: opened }), [2]);
  });

  it("has slots that are down come before one whose handover is open, which has a node left to drain (3639783784)", () => {
    const { slots, strategy } = plan("rolling", [true, true, true], { surge: 1, maxUnavailable: 1 });
    const more = [{ open: true as const }, { down: true as const }, {}];
    const edges = order({ role: "agent", strategy, slots: slots.map((one, k) => ({ ...one, ...more[k] })) });
    assert.deepEqual(
      edges.map(({ slot, join, handover }) => [slot, join, handover]),
      [
        [1, [], []],
        [0, [1], [1]],
        [2, [0], [1, 0]],
      ],
    );
  });

  it("binds nobody who has no predecessor", () => {
    for (const kind of ["rolling", "blueGreen"] as const) {
      for (const edge of order(plan(kind, [false, false, false, false], { surge: 1, maxUnavailable: 1 }))) {
        assert.deepEqual(edge, { slot: edge.slot, clone: [], vm: [], join: [], gate: false, handover: [] });
      }
    }
  });

  it("clones no more VMs at once than it may, in every kind of run", () => {
    const numbers = fc.record({
      surge: fc.integer({ min: 1, max: 9 }),
      maxUnavailable: fc.integer({ min: 1, max: 3 }),
    });
    const role = fc.constantFrom<Role>("agent", "server");
    const kind = fc.constantFrom<Strategy["kind"]>("rolling", "blueGreen");
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 12 }),
        numbers,
        role,
        kind,
        fc.integer({ min: 1, max: 5 }),
        (slots, wide, who, how, most) => {
          const drawn = plan(
            how,
            slots.map(([replaces]) => replaces),
            wide,
            who,
          );
          const made = { ...drawn, slots: drawn.slots.map((one, k) => ({ ...one, creates: slots[k]?.[1] === true })) };
          const orders = order(made, most);
          const creates = new Set(made.slots.filter((one) => one.creates).map(({ slot }) => slot));
          // As long as none ends, no more than so many can have begun.
          const begun = orders.filter(
            ({ slot, clone, vm }) => creates.has(slot) && ![...clone, ...vm].some((one) => creates.has(one)),
          );
          assert.ok(begun.length <= most);
          const chain = orders.map(({ slot }) => slot).filter((slot) => creates.has(slot));
          for (const [k, slot] of chain.entries())
            if (k >= most) assert.ok(orders.find((one) => one.slot === slot)?.clone.includes(chain[k - most] ?? -1));
          // What a slot waits for comes before it.
          for (const [k, { clone }] of orders.entries())
            assert.ok(clone.every((one) => orders.findIndex(({ slot }) => slot === one) < k));
        },
      ),
    );
  });

  it("clones for slots that replace nothing before those that replace", () => {
    const growing = plan("rolling", [true, true, true, true, true, true, false, false], {
      surge: 1,
      maxUnavailable: 1,
    });
    const edges = order(growing, 4);
    const waitsFor = (slot: number): number[] => {
      const own = edges.find((one) => one.slot === slot);
      return [...(own?.vm ?? []), ...(own?.clone.flatMap(waitsFor) ?? [])];
    };
    assert.deepEqual([waitsFor(6), waitsFor(7)], [[], []], "handovers that a new slot's clone waits for");
  });

  it("counts only slots that change", () => {
    const edges = order(plan("rolling", [true, false, false, true], { surge: 1, maxUnavailable: 1 }));
    assert.deepEqual(edges[3], { slot: 3, clone: [0], vm: [], join: [0], gate: false, handover: [0] });
  });

  it("lets servers join one after the other, also the first time", () => {
    const edges = order(plan("rolling", [false, false, false], { surge: 1, maxUnavailable: 1 }, "server"));
    assert.deepEqual(
      edges.map((edge) => edge.join),
      [[], [0], [1]],
    );
  });

  it("lets a control plane grow before it replaces a server", () => {
    const edges = order(plan("rolling", [true, false, false], { surge: 1, maxUnavailable: 1 }, "server"));
    assert.deepEqual(
      edges.map(({ slot, join }) => [slot, join]),
      [
        [1, []],
        [2, [1]],
        [0, [2]],
      ],
    );
  });

  it("replaces servers with an open handover before others, and after those that are down", () => {
    const made = plan("rolling", [true, true, true, true], { surge: 1, maxUnavailable: 1 }, "server");
    const states: Record<number, object> = { 1: { down: true }, 2: { open: true }, 3: { open: true } };
    const slots = made.slots.map((slot) => ({ ...slot, ...states[slot.slot] }));
    assert.deepEqual(
      order({ ...made, slots }).map(({ slot, join }) => [slot, join]),
      [
        [1, []],
        [2, [1]],
        [3, [2]],
        [0, [3]],
      ],
    );
  });

  const downAt = (down: readonly number[], made: ReturnType<typeof plan>): ReturnType<typeof plan> => ({
    ...made,
    slots: made.slots.map((slot) => (down.includes(slot.slot) ? { ...slot, down: true as const } : slot)),
  });
  const handovers = (made: ReturnType<typeof plan>) => order(made).map(({ slot, handover }) => [slot, handover]);
  const all = [true, true, true, true];

  it("replaces agents that are down first, and counts them as out", () => {
    const made = downAt([2], plan("rolling", all, { surge: 2, maxUnavailable: 1 }));
    assert.deepEqual(handovers(made), [
      [2, []],
      [0, [2]],
      [1, [0]],
      [3, [1]],
    ]);
  });

  it("counts an agent that is down and stays", () => {
    const made = downAt([3], plan("rolling", [true, true, true, false], { surge: 1, maxUnavailable: 1 }));
    assert.deepEqual(handovers(made), [
      [3, []],
      [0, [3]],
      [1, [0]],
      [2, [1]],
    ]);
  });

  it("lets nobody else go while more agents are down than may be out", () => {
    const made = downAt([1, 2, 3], plan("rolling", all, { surge: 4, maxUnavailable: 2 }));
    assert.deepEqual(handovers(made), [
      [1, []],
      [2, []],
      [3, []],
      [0, [1, 2]],
    ]);
  });

  const openAt = (open: readonly number[], made: ReturnType<typeof plan>): ReturnType<typeof plan> => ({
    ...made,
    slots: made.slots.map((slot) => (open.includes(slot.slot) ? { ...slot, open: true as const } : slot)),
  });

  it("lets nobody else go while more handovers are open than may be out, also beside an agent that is down", () => {
    const window = { surge: 4, maxUnavailable: 1 };
    assert.deepEqual(handovers(openAt([0, 1], plan("rolling", [false, false, true, true], window))), [
      [0, []],
      [1, []],
      [2, [0, 1]],
      [3, [2]],
    ]);
    assert.deepEqual(handovers(downAt([0], openAt([1], plan("rolling", [true, false, true, false], window)))), [
      [0, []],
      [1, []],
      [2, [0, 1]],
      [3, []],
    ]);
  });

  it("takes room for agents whose host does not answer, and goes on one at a time at the least", () => {
    const away = (slots: readonly number[], maxUnavailable: number) => {
      const made = downAt(slots, plan("rolling", [true, true, true, false, false], { surge: 3, maxUnavailable }));
      const unreachable = { host: "pve9", own: true };
      return {
        ...made,
        slots: made.slots.map((slot) => (slots.includes(slot.slot) ? { ...slot, unreachable } : slot)),
      };
    };
    const one = [
      [0, []],
      [1, [0]],
      [2, [1]],
      [3, []],
      [4, []],
    ];
    assert.deepEqual(handovers(away([4], 2)), one);
    assert.deepEqual(handovers(away([3, 4], 2)), one);
  });

  it("lets the successor of a fallen server come first", () => {
    const moving = plan("rolling", [true, true, true], { surge: 1, maxUnavailable: 1 }, "server");
    const slots = moving.slots.map((slot) => (slot.slot === 2 ? { ...slot, voterDown: true as const } : slot));
    const joins = (plan: Parameters<typeof order>[0]) => order(plan).map(({ slot, join }) => [slot, join]);
    assert.deepEqual(joins({ ...moving, slots }), [
      [2, []],
      [0, [2]],
      [1, [0]],
    ]);
    // A slot without a voter holds nobody up, and comes before one whose server is replaced.
    const without = slots.map((slot) => (slot.slot === 0 ? slot : { ...slot, down: true as const }));
    assert.deepEqual(joins({ ...moving, slots: without }), [
      [2, []],
      [1, [2]],
      [0, [1]],
    ]);
  });

  it("replaces no server whose next one is down before slots without a voter have one: it only joins first", () => {
    const moving = plan("rolling", [true, true, true, true], { surge: 1, maxUnavailable: 1 }, "server");
    const states: Record<number, object> = {
      0: { voterDown: true },
      2: { down: true },
      3: { voterDown: true, down: true },
    };
    const slots = moving.slots.map((slot) => ({ ...slot, ...states[slot.slot] }));
    assert.deepEqual(
      order({ ...moving, slots }).map(({ slot, join, joined, handover }) => ({ slot, join, joined, handover })),
      [
        { slot: 3, join: [], joined: undefined, handover: [] },
        { slot: 2, join: [3], joined: [0], handover: [] },
        { slot: 0, join: [], joined: undefined, handover: [2] },
        { slot: 1, join: [0], joined: undefined, handover: [] },
      ],
    );
  });

  it("never runs more than surge extra VMs, never has more than maxUnavailable out, and always ends", () => {
    const shape = fc.record({
      kind: fc.constantFrom("rolling" as const, "blueGreen" as const),
      moving: fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
      down: fc.array(fc.nat(11), { maxLength: 4 }),
      open: fc.array(fc.nat(11), { maxLength: 4 }),
      surge: fc.integer({ min: 1, max: 5 }),
      maxUnavailable: fc.integer({ min: 1, max: 5 }),
      choices: fc.infiniteStream(fc.nat()),
    });
    fc.assert(
      fc.property(shape, ({ kind, moving, down, open, surge, maxUnavailable, choices }) => {
        const edges = order(downAt(down, openAt(open, plan(kind, moving, { surge, maxUnavailable }))));
        const seen = carryOut(edges, { moving, away: [...down, ...open] }, () => Number(choices.next().value));
        if (kind === "rolling") assert.ok(seen.extra <= surge, `${seen.extra} extra VMs`);
        if (kind === "rolling") assert.ok(seen.ahead <= surge, `${seen.ahead} VMs cloned ahead`);
        assert.ok(seen.out <= maxUnavailable, `${seen.out} out`);
        if (kind === "blueGreen" && seen.firstOut !== undefined) {
          assert.equal(seen.firstOut, moving.filter(Boolean).length, "blue left before green was there");
        }
      }),
    );
  });
});

type Stage = "none" | "vm" | "joined" | "out" | "done";

/** Plays the edges in any order that they allow, one event after the other, and keeps the extremes. */
function carryOut(
  edges: SlotOrder[],
  { moving, away }: { moving: boolean[]; away: readonly number[] },
  choose: () => number,
) {
  const stage = new Map<number, Stage>(edges.map((edge) => [edge.slot, "none"]));
  const seen: { extra: number; ahead: number; out: number; firstOut: number | undefined } = {
    extra: 0,
    ahead: 0,
    out: 0,
    firstOut: undefined,
  };
  const done = (slots: number[]) => slots.every((slot) => stage.get(slot) === "done");
  const counted = (of: Stage[]) =>
    edges.filter((e) => moving[e.slot] && of.includes(stage.get(e.slot) ?? "none")).length;
  const gateOpen = () => edges.every((e) => !e.gate || !["none", "vm"].includes(stage.get(e.slot) ?? "none"));
  const next: Record<Stage, (edge: SlotOrder) => Stage | undefined> = {
    none: (edge) => (done(edge.vm) && edge.clone.every((slot) => stage.get(slot) !== "none") ? "vm" : undefined),
    vm: (edge) => (done(edge.join) ? "joined" : undefined),
    joined: (edge) => (done(edge.handover) && (!edge.gate || gateOpen()) ? "out" : undefined),
    out: () => "done",
    done: () => undefined,
  };
  for (;;) {
    const possible = edges.flatMap((edge) => {
      const to = next[stage.get(edge.slot) ?? "none"](edge);
      return to === undefined ? [] : [{ slot: edge.slot, to }];
    });
    const event = possible[choose() % Math.max(1, possible.length)];
    if (event === undefined) break;
    if (event.to === "out" && moving[event.slot]) seen.firstOut ??= counted(["joined", "out", "done"]);
    stage.set(event.slot, event.to);
    seen.extra = Math.max(seen.extra, counted(["joined", "out"]));
    // Whoever may start is not ahead.
    const waits = edges.filter((e) => moving[e.slot] && stage.get(e.slot) === "vm" && !done(e.join));
    seen.ahead = Math.max(seen.ahead, waits.length);
    // Who is down, or has an open handover, is out until its slot is handed over; that it came so is nobody's doing.
    const isAway = (e: SlotOrder) => away.includes(e.slot) && stage.get(e.slot) !== "done";
    if (event.to === "out" && moving[event.slot] && !away.includes(event.slot))
      seen.out = Math.max(
        seen.out,
        edges.filter((e) => isAway(e) || (moving[e.slot] && stage.get(e.slot) === "out")).length,
      );
  }
  assert.ok(
    [...stage.values()].every((at) => at === "done"),
    "the edges wait for each other",
  );
  return seen;
}

function plan(
  kind: Strategy["kind"],
  moving: boolean[],
  numbers: { surge: number; maxUnavailable: number },
  role: Role = "agent",
): Pick<PoolPlan, "role" | "strategy" | "slots"> {
  const slots = moving.map((moves, slot): SlotPlan => ({
    slot,
    generation: { id: "0123abcd", spec: SPEC },
    name: `demo-workers-${slot}-0123abcd`,
    vmid: 1100 + slot,
    creates: true,
    replaces: moves ? [`demo-workers-${slot}-ffffffff`] : [],
  }));
  return { role, slots, strategy: { kind, ...numbers, soakSeconds: 0, onFailure: "hold" } };
}
