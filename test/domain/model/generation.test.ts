import assert from "node:assert/strict";
import fc from "fast-check";
import { generationOf, nameProblems, nodeName, parseNodeName } from "../../../src/domain/model/generation.ts";
import type { NodeSpec } from "../../../src/domain/model/types.ts";

const SPEC: NodeSpec = {
  image: "ubuntu-24.04-rke2-v1.0.0",
  rke2: "v1.34.4+rke2r1",
  cores: 2,
  memoryMiB: 4096,
  diskGiB: 20,
};

describe("generation", () => {
  // Golden: whoever changes one of these rolls every cluster there is.
  const golden: [string, NodeSpec, string][] = [
    ["plain", SPEC, "a74d71bc"],
    ["another image", { ...SPEC, image: "ubuntu-24.04-rke2-v1.1.0", rke2: "v1.34.5+rke2r1" }, "302ef585"],
    ["labels and taints", { ...SPEC, labels: { tier: "web", zone: "a" }, taints: ["gpu=true:NoSchedule"] }, "8b98ebd6"],
    ["counter", { ...SPEC, rollout: 1 }, "5299b697"],
    ["configuration", { ...SPEC, config: { "kubelet-arg": ["max-pods=200"], debug: false } }, "5859673a"],
  ];
  for (const [name, spec, id] of golden) {
    it(`has the hash that it always had: ${name}`, () => assert.equal(generationOf(spec).id, id));
  }

  it("leaves defaults out", () => {
    const spelledOut = { ...SPEC, labels: {}, taints: [], startupTaints: [], rollout: 0, config: {} };
    assert.equal(generationOf(spelledOut).id, generationOf(SPEC).id);
  });

  it("does not see the order of keys or of taints", () => {
    const one = { ...SPEC, labels: { a: "1", b: "2" }, taints: ["x=1:NoSchedule", "y=1:NoExecute"] };
    const other = { taints: one.taints.toReversed(), labels: { b: "2", a: "1" }, ...reversed(SPEC) };
    assert.equal(generationOf(other).id, generationOf(one).id);
  });

  it("does not see the zone of a network, which is no part of a node", () => {
    const of = (zone: object): string =>
      generationOf({ ...SPEC, hardware: { networks: [{ bridge: "vnet1", model: "virtio", ...zone }] } }).id;
    assert.equal(of({ zone: "campus" }), of({}));
  });

  it("sees every field", () => {
    const changes: Partial<NodeSpec>[] = [
      { image: "other-v1.0.0" },
      { rke2: "v1.34.4+rke2r2" },
      { cores: 3 },
      { memoryMiB: 4097 },
      { diskGiB: 21 },
      { labels: { a: "" } },
      { taints: ["a=b:NoSchedule"] },
      { startupTaints: ["a=b:NoSchedule"] },
      { rollout: 1 },
      { config: { a: null } },
      { config: { list: ["a", "b"] } },
      { config: { list: ["b", "a"] } },
    ];
    const ids = [SPEC, ...changes.map((change) => ({ ...SPEC, ...change }))].map((spec) => generationOf(spec).id);
    assert.equal(new Set(ids).size, ids.length);
  });
});

describe("node name", () => {
  it("joins and parts again, with dashes in both names", () => {
    const label = fc.stringMatching(/^[a-z]([a-z0-9-]{0,15}[a-z0-9])?$/);
    const hash = fc.stringMatching(/^[0-9a-f]{8}$/);
    fc.assert(
      fc.property(label, label, fc.nat(999), hash, (cluster, pool, slot, generation) => {
        const name = nodeName(cluster, pool, slot, generation);
        assert.deepEqual(parseNodeName(name, cluster), { pool, slot, generation });
        assert.match(name, /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
      }),
    );
  });

  const strangers: [string, string][] = [
    ["another cluster", "prod-workers-1-0123abcd"],
    ["no generation", "demo-workers-1"],
    ["a longer hash", "demo-workers-1-0123abcde"],
    ["a slot with a leading zero", "demo-workers-01-0123abcd"],
    ["no pool", "demo-1-0123abcd"],
    ["only the prefix", "demo-"],
    ["upper case", "demo-workers-1-0123ABCD"],
  ];
  for (const [why, name] of strangers) {
    it(`is not ours: ${why}`, () => assert.equal(parseNodeName(name, "demo"), undefined));
  }

  it("fits a host name or is refused with the number of characters", () => {
    assert.deepEqual(nameProblems("demo", "workers", 6), []);
    assert.deepEqual(nameProblems("c".repeat(30), "p".repeat(20), 100), []);
    const [tooLong] = nameProblems("c".repeat(30), "p".repeat(21), 101);
    assert.match(tooLong?.what ?? "", /65 characters, and 63/);
    assert.match(tooLong?.todo ?? "", /by 2 characters/);
  });

  for (const bad of ["Demo", "1demo", "demo-", "-demo", "de mo", "", "de.mo"]) {
    it(`refuses the name "${bad}"`, () => {
      assert.equal(nameProblems(bad, "workers", 1).length, 1);
      assert.equal(nameProblems("demo", bad, 1).length, 1);
    });
  }

  it("refuses more slots than a name can number", () => {
    assert.deepEqual(nameProblems("demo", "workers", 1000), []);
    assert.match(nameProblems("demo", "workers", 1001)[0]?.what ?? "", /1001 slots/);
  });
});

function reversed(spec: NodeSpec): NodeSpec {
  return Object.fromEntries(Object.entries(spec).toReversed()) as unknown as NodeSpec;
}
