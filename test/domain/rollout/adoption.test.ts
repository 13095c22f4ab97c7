import assert from "node:assert/strict";
import { adoptionProblems, isOver, type AdoptionFacts } from "../../../src/domain/rollout/adoption.ts";
import { inconsistencies } from "../../../src/domain/rollout/consistency.ts";
import { adoptedGeneration, generationOf, isAdopted } from "../../../src/domain/model/generation.ts";
import { outcomeOf } from "../../../src/domain/rollout/outcome.ts";
import { plan, planRemoval } from "../../../src/domain/rollout/plan.ts";
import { PlanError } from "../../../src/domain/model/problem.ts";
import type { NodeRecord, PoolRecord, SlotPhase } from "../../../src/domain/model/types.ts";
import {
  A,
  AN_HOUR_AGO,
  B,
  carriedOut,
  nameOf,
  NOW,
  planned,
  poolOf,
  PROVED_A,
  settled,
  world,
  type World,
} from "./world.ts";

const uuid = "6b0124f9-0000-4000-8000-000000000302";
const other = "6b0124f9-0000-4000-8000-000000000999";

/** A world with adopted nodes in these slots, taken over or about to be: both look alike. */
function adopted(at: World, slots: readonly number[], role: "agent" | "server" = "agent"): World {
  const { observed } = at;
  const record = at.record ?? { pool: "workers", generations: [], nodes: [] };
  for (const slot of slots) {
    const name = `kube-${slot}.example.org`;
    const common = { name, uuid: `uuid-${name}`, pool: "workers", slot, generation: adoptedGeneration(name) };
    const vmid = 300 + slot;
    observed.vms.push({ ...common, vmid, host: "pve1", running: true });
    observed.nodes.push({ ...common, ready: true, schedulable: true, kubelet: "v1.34.4+rke2r1", role });
    observed.takenVmids.push(vmid);
    const { uuid, generation } = common;
    record.nodes.push({ name, slot, generation, vmid, uuid, phase: "handedOver", since: AN_HOUR_AGO });
  }
  return { observed, record };
}

const empty = (): World => world([], []);

describe("the generation of an adopted node", () => {
  it("is known by the name that it was made of, and is that of no content", () => {
    const generation = adoptedGeneration("kube-a");
    assert.match(generation, /^[0-9a-f]{8}$/);
    assert.ok(isAdopted({ name: "kube-a", generation }));
    assert.ok(!isAdopted({ name: "kube-b", generation }));
    for (const spec of [A, B]) assert.ok(!isAdopted({ name: nameOf(0, spec), generation: generationOf(spec).id }));
  });
});

describe("a plan with adopted nodes", () => {
  const names = (slots: readonly number[]) => slots.map((slot) => `kube-${slot}.example.org`);

  it("replaces each by a node of the wanted generation, like any other predecessor", () => {
    const at = adopted(empty(), [0, 1, 2, 3]);
    assert.deepEqual(inconsistencies("demo", at.observed, at.record, generationOf(A)), []);
    const done = planned(poolOf(A), at);
    assert.equal(done.kind, "roll");
    assert.deepEqual(
      done.slots.map(({ name, replaces, creates }) => [name, replaces, creates]),
      [0, 1, 2, 3].map((slot) => [nameOf(slot, A), names([slot]), true]),
    );
    assert.deepEqual([done.unreplaced, done.leaving, done.unhealthy], [[], [], []]);
    const words = done.words.join("\n");
    assert.match(words, /^roll workers: adopted -> /m);
    assert.match(words, /then kube-2\.example\.org \(adopted; its VM stays, off\) leaves/);
  });

  it("gives empty slots a node, beside the adopted ones", () => {
    const done = planned(poolOf(A), adopted(empty(), [1]));
    assert.deepEqual(
      done.slots.map(({ replaces }) => replaces),
      [[], names([1]), [], []],
    );
  });

  it("declares nothing for a slot whose turn has not come: the engine must not make what nobody made", () => {
    const canary = { canary: { nodes: 1 }, soakSeconds: 3600 };
    const done = planned(poolOf(A, { strategy: canary }), adopted(empty(), [0, 1, 2, 3]));
    assert.equal(done.kind, "canary");
    assert.deepEqual([done.slots.map(({ slot }) => slot), done.unreplaced], [[0], names([1, 2, 3])]);
    assert.match(done.words[0] ?? "", /^canary workers: adopted -> \w+, 4 slots/);
    assert.match(done.words.join("\n"), /kube-3\.example\.org was adopted and keeps its slot in this run/);
  });

  it("keeps what is not replaced yet when the new generation failed", () => {
    const at = adopted(world([{ slot: 0, spec: A, phase: "failed", well: false }], [[A, "failed"]]), [0, 1, 2, 3]);
    const done = planned(poolOf(A), at);
    assert.deepEqual([done.kind, done.slots, done.unreplaced], ["held", [], names([0, 1, 2, 3])]);
  });

  it("leaves an only server alone until the configuration consents, and writes no verdict on nobody", () => {
    const at = adopted(empty(), [0], "server");
    const held = plan(poolOf(A, { role: "server", slots: 1 }), at.observed, at.record, NOW);
    assert.deepEqual([held.kind, held.slots, held.unreplaced], ["steady", [], names([0])]);
    assert.deepEqual([held.target, held.verdict], [undefined, undefined]);
    assert.deepEqual(outcomeOf([held], [held]).outcome, "done");
    assert.match(held.words.join("\n"), /^workers: adopted, nothing to do$/m);
    assert.match(held.words.join("\n"), /is the only server: set controlPlane\.replaceOnlyServer/);
    const consent = poolOf(A, { role: "server", slots: 1, strategy: { replaceOnlyServer: true } });
    assert.deepEqual(plan(consent, at.observed, at.record, NOW).slots[0]?.replaces, names([0]));
  });

  it("has nothing new once it was carried out, so that no step runs again", () => {
    const pool = poolOf(A);
    const before = adopted(world(settled(A, 3, 1), PROVED_A), [0]);
    const done = planned(pool, before);
    const after = planned(pool, carriedOut(pool, before, done, NOW));
    assert.deepEqual([after.kind, after.digest], ["steady", done.digest]);
  });

  it("refuses to give up the slot, or the pool, of a node that nobody would take out", () => {
    const refused = (attempt: () => unknown) =>
      assert.throws(attempt, (error) => {
        assert.ok(error instanceof PlanError);
        assert.match(error.problems[0]?.what ?? "", /^kube-3\.example\.org was adopted and has no successor/);
        return true;
      });
    const at = adopted(world(settled(A, 3), PROVED_A), [3]);
    refused(() => planned(poolOf(A, { slots: 3 }), at));
    refused(() => planRemoval({ name: "workers", role: "agent" }, at.observed, at.record, NOW));
  });
});

describe("disagreements about adopted nodes", () => {
  it("see another name, another uuid, and a VM that is gone", () => {
    const whats = (change: (at: World) => void) => {
      const at = adopted(world(settled(A, 3), PROVED_A), [3]);
      change(at);
      return inconsistencies("demo", at.observed, at.record).map(({ what }) => what);
    };
    const mine = (at: World) => at.observed.vms.find(({ vmid }) => vmid === 303);
    const renamed = whats((at) => Object.assign(mine(at) ?? {}, { name: "kube-x" }));
    assert.match(renamed.join("\n"), /another name: it was made as kube-3\.example\.org/);
    const exchanged = whats((at) => Object.assign(mine(at) ?? {}, { uuid: "uuid-stranger" }));
    assert.match(exchanged.join("\n"), /is not the VM that we made/);
    const gone = whats((at) => (at.observed.vms = at.observed.vms.filter((vm) => vm !== mine(at))));
    assert.match(gone.join("\n"), /the VM of Node kube-3\.example\.org is gone/);
  });
});

describe("an entry under adopt", () => {
  const remembered = (phase: SlotPhase, of = uuid, name = "kube-a"): NodeRecord => ({
    name,
    slot: 0,
    generation: adoptedGeneration(name),
    vmid: 302,
    uuid: of,
    phase,
    since: AN_HOUR_AGO,
  });
  const record = (...nodes: NodeRecord[]): PoolRecord => ({ pool: "workers", generations: [], nodes });
  const facts = (changes: Partial<AdoptionFacts> = {}): AdoptionFacts => ({
    adoption: {
      pool: "workers",
      role: "agent",
      slot: 0,
      vmid: 302,
      uuid,
      node: "kube-a",
      where: "evergreen:pools[0].adopt[0]",
    },
    proxmoxPool: "nodes",
    vm: { name: "kube-a", uuid, template: false, pool: "nodes", claims: undefined },
    node: { uuid, role: "agent", ours: false, claims: undefined },
    record: record(),
    ...changes,
  });
  const vm = (changes: object): Partial<AdoptionFacts> => {
    const before = facts().vm;
    return before ? { vm: { ...before, ...changes } } : {};
  };
  const node = (changes: object): Partial<AdoptionFacts> => {
    const before = facts().node;
    return before ? { node: { ...before, ...changes } } : {};
  };
  const successor = remembered("handedOver", other, "demo-workers-0-0a1b2c3d");

  const cases: [string, Partial<AdoptionFacts>, RegExp | undefined][] = [
    ["agrees with everything", {}, undefined],
    ["is taken over already", { record: record(remembered("handedOver")), ...node({ ours: true }) }, undefined],
    [
      "lost its Node to a run that was killed",
      { record: record(remembered("handedOver")), node: undefined },
      undefined,
    ],
    ["names a VM that nobody sees", { vm: undefined }, /sees no such VM in the Proxmox pool nodes$/],
    ["names a VM in another pool", vm({ pool: "billing" }), /it is in the Proxmox pool billing$/],
    ["names a template", vm({ template: true }), /it is a template$/],
    ["has another name than the VM", vm({ name: "kube-z" }), /its name is kube-z, and VM and Node must have one name$/],
    ["names a VM on a host that does not answer", vm({ name: undefined, uuid: undefined }), /host does not answer$/],
    ["has another uuid than the VM", vm({ uuid: other }), new RegExp(`its SMBIOS uuid is ${other}$`)],
    ["names a VM without a uuid", vm({ uuid: "" }), /its SMBIOS uuid is not set$/],
    ["names a VM of another cluster", vm({ claims: "slot 1" }), /its tags say that it is slot 1$/],
    ["names no Node", { node: undefined }, /the cluster has no Node of that name$/],
    ["names the Node of another machine", node({ uuid: other }), /the Node runs in the machine/],
    [
      "names a server in a pool of agents",
      node({ role: "server" }),
      /the Node is a server, and the pool is one of agents$/,
    ],
    [
      "names a Node of another slot",
      node({ ours: true, claims: "slot 1" }),
      /the Node's labels say that it is slot 1$/,
    ],
    ["wants a slot that is somebody's", { record: record(successor) }, /slot 0 belongs to demo-workers-0-0a1b2c3d$/],
    [
      "lost its VM by hand",
      { record: record(remembered("handedOver")), vm: undefined },
      /taken over, and the token does not see it any more$/,
    ],
  ];
  for (const [title, changes, why] of cases) {
    it(`${why ? "is refused when it" : "is right when it"} ${title}`, () => {
      const problems = adoptionProblems(facts(changes));
      assert.equal(isOver(facts(changes)), false);
      assert.equal(problems.length, why ? 1 : 0, JSON.stringify(problems));
      const [problem] = problems;
      if (why) assert.match(problem?.what ?? "", why);
      if (title.includes("pool") && problem && changes.vm?.pool === "billing")
        assert.match(problem.todo, /^move VM 302 into the pool nodes/);
    });
  }

  it("leads on when its VM was deleted by hand and another one has the number, wherever that is", () => {
    for (const pool of ["nodes", "billing", undefined]) {
      const taken = { record: record(remembered("handedOver")), ...vm({ name: "web", uuid: other, pool }) };
      const [problem] = adoptionProblems(facts(taken));
      assert.match(problem?.what ?? "", /its name is web/);
      assert.match(problem?.todo ?? "", /deleted by hand, give this one another number, then npx evergreen repair/);
      assert.doesNotMatch(problem?.todo ?? "", /move VM 302 into/);
    }
  });

  const over: [string, Partial<AdoptionFacts>, boolean][] = [
    ["its node was retired and has left", { record: record(remembered("retired")), node: undefined }, true],
    [
      "it was retired and a stranger has its VMID",
      { record: record(remembered("retired")), ...vm({ uuid: other }), node: undefined },
      true,
    ],
    [
      "a server is remembered as retired and still a Node",
      { record: record(remembered("retired")), ...node({ ours: true }) },
      false,
    ],
    [
      "nobody remembers it, it is gone, and the slot is somebody's",
      { record: record(successor), vm: undefined, node: undefined },
      true,
    ],
    ["nobody remembers it, and it is there", { record: record(successor) }, false],
    ["nobody has the slot", { vm: undefined, node: undefined }, false],
  ];
  for (const [title, changes, expected] of over) {
    it(`is ${expected ? "" : "not "}over when ${title}`, () => assert.equal(isOver(facts(changes)), expected));
  }
});
