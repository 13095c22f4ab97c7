import assert from "node:assert/strict";
import { inconsistencies } from "../../../src/domain/rollout/consistency.ts";
import { generationOf } from "../../../src/domain/model/generation.ts";
import { hasTurned, outcomeOf } from "../../../src/domain/rollout/outcome.ts";
import { planRemoval } from "../../../src/domain/rollout/plan.ts";
import { environmentOf, variables } from "../../../src/domain/model/step-environment.ts";
import type { PoolPlan } from "../../../src/domain/model/types.ts";
import { strandedIn } from "../../../src/domain/rollout/unreachable.ts";
import { A, B, nameOf, NOW, planned, poolOf, settled, world, type Held, type World } from "./world.ts";

/** The same world after the Proxmox host of some VMs has gone silent. */
function without(at: World, ...names: string[]): World {
  const away = (name: string) => names.includes(name);
  const vms = at.observed.vms.map((vm) =>
    away(vm.name) ? { ...vm, host: "pve2", running: false, unreachable: "No route to host" } : vm,
  );
  const nodes = at.observed.nodes.map((node) => (away(node.name) ? { ...node, ready: false } : node));
  return { ...at, observed: { ...at.observed, vms, nodes } };
}

const slotsOf = ({ slots }: PoolPlan) =>
  slots.map(({ slot, name, replaces, unreachable }) => [
    slot,
    name.slice(-8),
    replaces.length > 0,
    unreachable?.host ?? "",
  ]);
const [a, b] = [generationOf(A).id, generationOf(B).id];

describe("a node whose Proxmox host does not answer", () => {
  const onA = world(settled(A), [[A, "proved"]]);

  it("is left as it is, and is named, while the other slots roll", () => {
    const plan = planned(poolOf(B), without(onA, nameOf(1, A)));
    assert.deepEqual(slotsOf(plan), [
      [0, b, true, ""],
      [1, a, false, "pve2"],
      [2, b, true, ""],
      [3, b, true, ""],
    ]);
    assert.deepEqual([plan.kind, plan.unhealthy, plan.leaving], ["roll", [], []]);
    assert.match(
      plan.words.join("\n"),
      new RegExp(`${nameOf(1, A)} is unknown: its Proxmox host pve2 does not answer`),
    );
  });

  it("is not mended where nothing rolls, and nothing else is to do", () => {
    const plan = planned(poolOf(A), without(onA, nameOf(1, A)));
    assert.deepEqual([plan.kind, plan.unhealthy, plan.leaving], ["steady", [], []]);
    assert.equal(plan.digest, planned(poolOf(A), onA).digest);
  });

  it("is no canary", () => {
    const strategy = { canary: { nodes: 1 }, soakSeconds: 3600 };
    const plan = planned(poolOf(B, { strategy }), without(onA, nameOf(0, A)));
    assert.deepEqual(
      plan.slots.filter(({ replaces }) => replaces.length > 0).map(({ slot }) => slot),
      [1],
    );
  });

  it("keeps its slot when that is given up", () => {
    const plan = planned(poolOf(A, { slots: 2 }), without(onA, nameOf(3, A)));
    assert.deepEqual(
      plan.slots.map(({ slot }) => slot),
      [0, 1, 3],
    );
    assert.deepEqual(plan.leaving, [nameOf(2, A)]);
  });

  it("lets nobody leave its slot but who never served there", () => {
    const records: Parameters<typeof world>[1] = [
      [A, "proved"],
      [B, "rolling"],
    ];
    // Of slot 3, which is given up, one is on the silent host.
    const half: Held = { slot: 3, spec: B, phase: "joined" };
    const given = (away: string) =>
      planned(poolOf(A, { slots: 3 }), without(world([...settled(A), half], records), away));
    assert.deepEqual(given(nameOf(3, B)).leaving, []);
    const plan = given(nameOf(3, A));
    assert.deepEqual([plan.leaving, plan.slots.at(-1)?.stranded], [[nameOf(3, B)], undefined]);
  });

  it("keeps its slot beside one that has joined and serves meanwhile, which stays as well until its host answers", () => {
    const records: Parameters<typeof world>[1] = [
      [A, "proved"],
      [B, "rolling"],
    ];
    const next = (phase: Held["phase"]) => {
      const half: Held = { slot: 1, spec: B, phase };
      const plan = planned(poolOf(B), without(world([...settled(A), half], records), nameOf(1, A)));
      return [plan.slots[1]?.stranded?.map(({ name }) => name), plan.leaving];
    };
    assert.deepEqual(next("joined"), [[nameOf(1, B)], []]);
    assert.deepEqual(next("made"), [undefined, [nameOf(1, B)]]);
  });

  it("keeps its slot when its pool is removed", () => {
    const at = without(onA, nameOf(3, A));
    const plan = planRemoval({ name: "workers", role: "agent" }, at.observed, at.record, NOW);
    assert.deepEqual(slotsOf(plan), [[3, a, false, "pve2"]]);
    assert.deepEqual(plan.leaving, [nameOf(0, A), nameOf(1, A), nameOf(2, A)]);
  });

  /** Slot 1 with its owner of B, and on the silent host what is left there of A. */
  const besides = (phase: Held["phase"]): World => {
    const held: Held[] = [...settled(B), { slot: 1, spec: A, phase, node: false }];
    const records: Parameters<typeof world>[1] = [
      [A, "proved"],
      [B, "proved"],
    ];
    return without(world(held, records), nameOf(1, A));
  };

  it("stays in the engine's state also when it is nothing to its slot any more", () => {
    const at = besides("retired");
    const [, slot] = planned(poolOf(B), at).slots;
    assert.ok(slot);
    assert.deepEqual(slot.unreachable, { host: "pve2", own: false });
    assert.deepEqual(
      slot.stranded?.map(({ name, generation }) => [name, generation.id]),
      [[nameOf(1, A), a]],
    );
    assert.equal(slot.name, nameOf(1, B));
    const { vmid } = at.observed.vms.find(({ name }) => name === nameOf(1, A)) ?? { vmid: 0 };
    assert.deepEqual(
      strandedIn(slot).map(({ name, vmid, creates, replaces, unreachable }) => [
        name,
        vmid,
        creates,
        replaces,
        unreachable,
      ]),
      [[nameOf(1, A), vmid, false, [], { host: "pve2", own: true }]],
    );
  });

  it("is declared once: not beside itself as who has the slot, nor when it is kept for its data", () => {
    const [, own] = planned(poolOf(A), without(onA, nameOf(1, A))).slots;
    assert.deepEqual([own?.unreachable, own?.stranded], [{ host: "pve2", own: true }, undefined]);
    const at = besides("retired");
    const nodes = (at.record?.nodes ?? []).map((node) => (node.name === nameOf(1, A) ? { ...node, keeps: [] } : node));
    const [, slot] = planned(poolOf(B), { ...at, record: at.record && { ...at.record, nodes } }).slots;
    assert.deepEqual([slot?.unreachable, slot?.stranded], [{ host: "pve2", own: false }, undefined]);
  });

  it("is not declared when nobody recorded it: the engine may not have it, and would make another", () => {
    const [, slot] = planned(poolOf(B), besides("unrecorded")).slots;
    assert.deepEqual([slot?.unreachable, slot?.stranded], [{ host: "pve2", own: false }, undefined]);
  });

  it("contradicts nobody, whoever it is", () => {
    const at = without(onA, nameOf(1, A), nameOf(2, A));
    const unread = { ...at.observed, vms: at.observed.vms.map((vm) => (vm.unreachable ? { ...vm, uuid: "" } : vm)) };
    assert.deepEqual(inconsistencies("demo", unread, at.record, generationOf(A)), []);
  });

  it("holds all servers as they are when it is one of them", () => {
    const servers = { name: "workers", role: "server" as const, slots: 3 };
    const at = without(world(settled(A, 3), [[A, "proved"]]), nameOf(1, A));
    const plan = planned(poolOf(B, servers), at);
    assert.deepEqual(slotsOf(plan), [
      [0, a, false, ""],
      [1, a, false, "pve2"],
      [2, a, false, ""],
    ]);
    assert.deepEqual([plan.kind, plan.target, plan.verdict], ["held", undefined, undefined]);
    assert.match(plan.words.join("\n"), /no server comes or goes while one of them cannot be asked/);
    const same = planned(poolOf(A, servers), at);
    assert.deepEqual([same.kind, same.unhealthy], ["steady", []]);
  });

  it("lets no server come into an empty slot", () => {
    const servers = { name: "workers", role: "server" as const, slots: 3 };
    const plan = planned(poolOf(A, servers), without(world(settled(A, 2), [[A, "proved"]]), nameOf(1, A)));
    assert.deepEqual(
      plan.slots.map(({ slot, creates }) => [slot, creates]),
      [
        [0, false],
        [1, false],
      ],
    );
  });

  it("makes a run fail that did all it could, and is no verdict", () => {
    const before = planned(poolOf(B), onA);
    const after = planned(
      poolOf(B),
      without(
        world(
          [...settled(B, 1), ...settled(A, 1, 1), ...settled(B, 2, 2)],
          [
            [A, "proved"],
            [B, "proved"],
          ],
        ),
        nameOf(1, A),
      ),
    );
    const { outcome, words, open } = outcomeOf([before], [after]);
    assert.equal(outcome, "failed");
    assert.match(words.join(), /workers has nodes on Proxmox hosts that do not answer: pve2/);
    assert.equal(open.length, 1);
    assert.equal(hasTurned([before], [after]), false);
  });

  it("is told to the steps of its slot alone", () => {
    const plan = planned(poolOf(A), without(onA, nameOf(1, A)));
    const site = {
      registrationAddress: "127.40.0.5",
      proxmoxPool: "nodes",
      serverPool: "servers",
      timeouts: {} as never,
    };
    const told = plan.slots.map((slot) => environmentOf({ cluster: "demo", site, slot })[variables.unreachable]);
    assert.deepEqual(told, [undefined, "pve2", undefined, undefined]);
    const steps = JSON.parse(environmentOf({ cluster: "demo", site, plan })[variables.plan] ?? "") as {
      slots: object[];
    };
    assert.deepEqual(
      steps.slots.map((slot) => "unreachable" in slot),
      [false, true, false, false],
    );
  });
});
