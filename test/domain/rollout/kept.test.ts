import assert from "node:assert/strict";
import { planRemoval } from "../../../src/domain/rollout/plan.ts";
import { PlanError } from "../../../src/domain/model/problem.ts";
import { outcomeOf } from "../../../src/domain/rollout/outcome.ts";
import type { LocalVolumePolicy, NodeRecord } from "../../../src/domain/model/types.ts";
import { isQuiet } from "../../../src/domain/rollout/render.ts";
import { A, B, nameOf, NOW, planned, poolOf, settled, world, type Held, type World } from "./world.ts";

const week = 7 * 24 * 3600;
const keeping = (keepSeconds = week): LocalVolumePolicy => ({ mayLeave: true, keepSeconds });
const DATA = { claim: "shop/data-0", size: "10Gi" };
/** An hour before NOW: the end of a week from then. */
const UNTIL = "2026-03-08T11:00:00.000Z";

/** Slot 0 went from A to B, and what A had on its disk is kept. */
const MOVED: Held[] = [
  { slot: 0, spec: A, phase: "retired" },
  { slot: 0, spec: B, phase: "handedOver" },
  ...settled(B, 3, 1),
];

function withData(at: World, name = nameOf(0, A), more: Partial<NodeRecord> = {}): World {
  const nodes = at.record?.nodes.map((node) => (node.name === name ? { ...node, keeps: [DATA], ...more } : node)) ?? [];
  return { ...at, record: at.record && { ...at.record, nodes } };
}

const moved = (more: Partial<NodeRecord> = {}) =>
  withData(
    world(MOVED, [
      [A, "proved"],
      [B, "proved"],
    ]),
    nameOf(0, A),
    more,
  );

describe("the VM of a retired node that holds data", () => {
  it("is kept, and its slot is settled: nothing waits for the engine", () => {
    const plan = planned(poolOf(B, { localVolumes: keeping() }), moved());
    assert.deepEqual(
      plan.kept.map(({ name, vmid, volumes, until }) => ({ name, vmid, volumes, until })),
      [{ name: nameOf(0, A), vmid: 1100, volumes: [DATA], until: UNTIL }],
    );
    assert.deepEqual(
      plan.slots.flatMap(({ replaces }) => replaces),
      [],
    );
    assert.ok(isQuiet(plan));
    assert.equal(plan.kind, "steady");
    const line = `  ${nameOf(0, A)} has left; its VM 1100 is kept, off, for its data until ${UNTIL}: shop/data-0 (10Gi)`;
    assert.ok(plan.words.includes(line), plan.words.join("\n"));
  });

  const times: [string, Partial<NodeRecord>, LocalVolumePolicy | undefined, boolean][] = [
    ["an hour of a week has passed", {}, keeping(), true],
    ["the configuration does not consent any more", {}, { mayLeave: false, keepSeconds: week }, true],
    ["nobody configured anything", {}, undefined, true],
    ["its week is over", { since: "2026-02-22T11:59:59.000Z" }, keeping(), false],
    ["its week ends in a minute", { since: "2026-02-22T12:01:00.000Z" }, keeping(), true],
    ["it is to be kept until the next run, and this is it", {}, keeping(0), false],
    ["nobody knows since when", { since: "yesterday" }, keeping(), true],
    ["it was retired in the future of our clock", { since: "2026-03-01T13:00:00.000Z" }, keeping(0), true],
  ];
  for (const [title, more, policy, kept] of times)
    it(`${kept ? "is kept" : "goes, and is named first,"} when ${title}`, () => {
      const plan = planned(poolOf(B, policy ? { localVolumes: policy } : {}), moved(more));
      assert.deepEqual(
        plan.kept.map(({ name }) => name),
        kept ? [nameOf(0, A)] : [],
      );
      assert.deepEqual(
        plan.slots.flatMap(({ replaces }) => replaces),
        kept ? [] : [nameOf(0, A)],
      );
      const words = plan.words.join("\n");
      assert.equal(
        words.includes("its time is over: VM 1100 is destroyed at the end of this run, with shop/data-0"),
        !kept,
        words,
      );
    });

  const unfinished: [string, Partial<Held>][] = [
    ["its Node is still there", { node: true }],
    [
      "it was not retired before its Node went",
      { phase: "handedOver", node: false, since: "2026-03-01T10:00:00.000Z" },
    ],
  ];
  for (const [title, more] of unfinished)
    it(`does not count as kept before its retirement is over: ${title}`, () => {
      const [first, ...others] = MOVED as [Held, ...Held[]];
      const at = withData(
        world(
          [{ ...first, ...more }, ...others],
          [
            [A, "proved"],
            [B, "proved"],
          ],
        ),
      );
      const plan = planned(poolOf(B, { localVolumes: keeping() }), at);
      assert.deepEqual([plan.kept, plan.slots[0]?.replaces], [[], [nameOf(0, A)]]);
    });

  it("is kept after its time while its Proxmox host does not answer: nothing is destroyed there", () => {
    const at = moved({ since: "2026-02-01T12:00:00.000Z" });
    const [old, ...vms] = at.observed.vms;
    assert.ok(old);
    const away = { ...old, host: "pve2", unreachable: "No route to host" };
    const plan = planned(poolOf(B, { localVolumes: keeping() }), {
      ...at,
      observed: { ...at.observed, vms: [away, ...vms] },
    });
    assert.deepEqual(
      plan.kept.map(({ name }) => name),
      [nameOf(0, A)],
    );
  });

  it("goes as before when its node was retired without data", () => {
    const plan = planned(
      poolOf(B),
      world(MOVED, [
        [A, "proved"],
        [B, "proved"],
      ]),
    );
    assert.deepEqual([plan.kept, plan.slots[0]?.replaces], [[], [nameOf(0, A)]]);
  });

  it("begins the pool anew until the node is out of the cluster: nothing is deleted that would retire it", () => {
    const healing = (left: Omit<Held, "slot" | "spec">, keeps = true): string | undefined => {
      const at = world([...settled(A, 3), { slot: 1, spec: B, ...left }], [[A, "proved"]]);
      return planned(poolOf(A), keeps ? withData(at, nameOf(1, B)) : at).healing;
    };
    assert.equal(healing({ phase: "joined" }), NOW.toISOString());
    assert.equal(healing({ phase: "made", node: false }), NOW.toISOString());
    // The delete of its join or its VM retires it.
    assert.equal(healing({ phase: "joined" }, false), undefined);
    assert.equal(healing({ phase: "retired" }), undefined);
  });

  it("comes back as the node that it was when the pool returns to its generation", () => {
    const plan = planned(poolOf(A, { localVolumes: keeping() }), moved());
    assert.deepEqual(plan.kept, []);
    assert.deepEqual([plan.slots[0]?.name, plan.slots[0]?.vmid, plan.slots[0]?.creates], [nameOf(0, A), 1100, false]);
    assert.ok(plan.unhealthy.includes(nameOf(0, A)), "its join starts it");
  });

  it("is kept when its slot is given up, and its number is not given again", () => {
    const held = [...settled(B, 3), { ...MOVED[0], slot: 3 } as Held, { ...MOVED[1], slot: 3 } as Held];
    const at = withData(
      world(held, [
        [A, "proved"],
        [B, "proved"],
      ]),
      nameOf(3, A),
    );
    const plan = planned(poolOf(B, { slots: 3, localVolumes: keeping() }), at);
    assert.deepEqual([plan.leaving, plan.kept.map(({ name }) => name)], [[nameOf(3, B)], [nameOf(3, A)]]);
    const after = withData(
      world(
        [...settled(B, 3), { ...MOVED[0], slot: 3 } as Held],
        [
          [A, "proved"],
          [B, "proved"],
        ],
      ),
      nameOf(3, A),
    );
    assert.equal(
      planned(poolOf(B, { slots: 3, localVolumes: keeping() }), after).kind,
      "steady",
      "nothing is left to do",
    );
    const grown = planned(poolOf(B, { slots: 5, localVolumes: keeping() }), at);
    assert.ok(!grown.slots.some(({ vmid }) => vmid === plan.kept[0]?.vmid));
  });

  it("is kept when its pool left the configuration, until its time is over, and such a run is done", () => {
    const only = withData(world([{ slot: 0, spec: A, phase: "retired" }], [[A, "proved"]]));
    const removal = (now: Date) => planRemoval({ name: "workers", role: "agent" }, only.observed, only.record, now);
    const plan = removal(NOW);
    assert.deepEqual([plan.leaving, plan.kept.map(({ name }) => name)], [[], [nameOf(0, A)]]);
    assert.equal(outcomeOf([plan], [plan]).outcome, "done");
    assert.deepEqual(removal(new Date("2026-03-08T11:00:01Z")).leaving, [nameOf(0, A)]);
  });

  it("stays a server's when its slot returns to its content: another incarnation comes", () => {
    const servers = { role: "server" as const, slots: 3, strategy: { surge: 1 }, localVolumes: keeping() };
    const held = [...MOVED.slice(0, 2), ...settled(B, 2, 1)];
    const plan = planned(
      poolOf(A, servers),
      withData(
        world(held, [
          [A, "proved"],
          [B, "proved"],
        ]),
      ),
    );
    assert.notEqual(plan.slots[0]?.name, nameOf(0, A));
    assert.deepEqual(
      plan.kept.map(({ name }) => name),
      [nameOf(0, A)],
    );
  });

  it("is named when its number is one too few for the nodes that come", () => {
    const narrow = poolOf(A, { range: { first: 1100, last: 1103 }, localVolumes: keeping() });
    const at = withData(
      world(
        [{ slot: 0, spec: B, phase: "retired" }, ...settled(A, 3)],
        [
          [A, "proved"],
          [B, "proved"],
        ],
      ),
      nameOf(0, B),
    );
    assert.throws(
      () => planned(narrow, at),
      (error: unknown) =>
        error instanceof PlanError &&
        (error.problems[0]?.where ?? "").includes("4 of ours (1 kept for the data on them)") &&
        (error.problems[0]?.todo ?? "").includes("lower evergreen:localVolumes.keepDays"),
    );
  });
});
