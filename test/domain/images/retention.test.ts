import assert from "node:assert/strict";
import fc from "fast-check";
import {
  removable,
  retention,
  type BakedTemplate,
  type ImageUse,
  type RetentionPolicy,
} from "../../../src/domain/images/retention.ts";

const STACK = "evergreen/prod";
let next = 9000;
const baked = (name: string, version: string, changes: Partial<BakedTemplate> = {}): BakedTemplate => ({
  ...{ vmid: (next += 1), host: "pve1", image: `${name}-${version}`, definition: { name, version } },
  ...{ bakedBy: STACK, isProtected: false, ...changes },
});
const unused: ImageUse = { stack: STACK, images: new Set(), updates: [], bases: new Set(), silentHosts: [] };
const policy: RetentionPolicy = { versions: 1, updates: 2 };
const removed = (
  templates: BakedTemplate[],
  use: Partial<ImageUse> = {},
  kept: Partial<RetentionPolicy> = {},
): string[] =>
  removable(retention(templates, { ...unused, ...use }, { ...policy, ...kept })).map(
    ({ image, host }) => `${image} on ${host}`,
  );

describe("the retention of templates", () => {
  const old = baked("ubuntu", "v1.9.0");
  const copy = { ...baked("ubuntu", "v1.9.0"), host: "pve2" };
  const young = baked("ubuntu", "v1.10.0");
  const both = ["ubuntu-v1.9.0 on pve1", "ubuntu-v1.9.0 on pve2"];

  const table: [string, BakedTemplate[], Partial<ImageUse>, Partial<RetentionPolicy>, string[]][] = [
    ["removes what nothing needs, on each host", [old, copy, young], {}, {}, both],
    ["keeps the newest versions, by number and not by letter", [young, old], {}, {}, [both[0] ?? ""]],
    [
      "keeps as many of them as it is told",
      [old, young, baked("ubuntu", "v1.8.0")],
      {},
      { versions: 2 },
      ["ubuntu-v1.8.0 on pve1"],
    ],
    ["counts each definition by itself", [old, baked("debian", "v1.0.0")], {}, {}, []],
    ["keeps what a pool or a node has", [old, copy, young], { images: new Set(["ubuntu-v1.9.0"]) }, {}, []],
    ["keeps what a rollback may need", [old, young], { updates: [new Set(["x"]), new Set(["ubuntu-v1.9.0"])] }, {}, []],
    [
      "and no more of the past than it is told",
      [old, young],
      { updates: [new Set(["x"]), new Set(), new Set(["ubuntu-v1.9.0"])] },
      {},
      [both[0] ?? ""],
    ],
    [
      "keeps the base of linked clones, and removes its copy",
      [old, copy, young],
      { bases: new Set([old.vmid]) },
      {},
      [both[1] ?? ""],
    ],
    ["keeps what Proxmox protects", [{ ...old, isProtected: true }, young], {}, {}, []],
    ["keeps what another stack baked", [{ ...old, bakedBy: "evergreen/dev" }, young], {}, {}, []],
    ["keeps what has no record", [{ ...old, definition: undefined, bakedBy: undefined }, young], {}, {}, []],
    ["does not count those of others among the newest", [old, { ...young, bakedBy: "evergreen/dev" }], {}, {}, []],
    ["keeps all when a host is silent", [old, young], { silentHosts: ["pve3"] }, {}, []],
    ["keeps all when the history is not known", [old, young], { updates: undefined }, {}, []],
    ["keeps all when linked clones are not known", [old, young], { bases: undefined }, {}, []],
    [
      "may keep none of the newest, where nothing uses them",
      [old, young],
      {},
      { versions: 0 },
      [both[0] ?? "", "ubuntu-v1.10.0 on pve1"],
    ],
  ];
  for (const [name, templates, use, kept, expected] of table)
    it(name, () => assert.deepEqual(removed(templates, use, kept), expected));

  it("says why a template is kept, all of it", () => {
    const use = {
      ...unused,
      images: new Set(["ubuntu-v1.10.0"]),
      bases: new Set([young.vmid]),
      updates: [new Set(["ubuntu-v1.10.0"])],
    };
    const [verdict] = retention([{ ...young, isProtected: true }], use, policy);
    assert.deepEqual(verdict?.keptBy, [
      "the configuration or a node has it",
      "update 1 of the last 2 used it",
      "linked clones lie on it",
      "Proxmox protects it (option protection)",
      "it is among the newest 1 versions of its definition",
    ]);
    assert.deepEqual(retention([{ ...young, bakedBy: "evergreen/dev" }], use, policy)[0]?.keptBy, [
      "the stack evergreen/dev baked it",
    ]);
  });
});

interface World {
  templates: BakedTemplate[];
  use: ImageUse;
  policy: RetentionPolicy;
}

const names = ["ubuntu", "debian"];
const versions = ["v1.0.0", "v1.2.0", "v1.10.0", "v2.0.0"];
const image = fc.tuple(fc.constantFrom(...names), fc.constantFrom(...versions));
const imageSet = fc
  .array(image, { maxLength: 4 })
  .map((list) => new Set(list.map(([name, version]) => `${name}-${version}`)));
const world: fc.Arbitrary<World> = fc
  .record({
    list: fc.array(
      fc.tuple(
        image,
        fc.constantFrom("pve1", "pve2"),
        fc.constantFrom(STACK, STACK, STACK, "evergreen/dev", undefined),
        fc.nat(9),
      ),
      { maxLength: 12 },
    ),
    images: imageSet,
    updates: fc.option(fc.array(imageSet, { maxLength: 4 }), { nil: undefined, freq: 8 }),
    bases: fc.option(
      fc.array(fc.nat(11)).map((list) => new Set(list.map((index) => 100 + index))),
      { nil: undefined, freq: 8 },
    ),
    silentHosts: fc.oneof({ weight: 8, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.constant(["pve3"]) }),
    policy: fc.record({ versions: fc.nat(3), updates: fc.nat(3) }),
  })
  .map(({ list, policy: kept, ...use }) => ({
    templates: list.map(([[name, version], host, bakedBy, protectedOf10], index) => ({
      ...{ vmid: 100 + index, host, image: `${name}-${version}`, bakedBy, isProtected: protectedOf10 === 0 },
      definition: bakedBy === undefined ? undefined : { name, version },
    })),
    use: { stack: STACK, ...use },
    policy: kept,
  }));
const gone = ({ templates, use, policy: kept }: World) => removable(retention(templates, use, kept));

describe("the retention of templates, in any situation", () => {
  const holds = (property: (at: World) => void) => fc.assert(fc.property(world, property), { numRuns: 500 });

  it("removes nothing that is another's, in use, protected, a base, or needed for a rollback", () => {
    holds((at) => {
      const needed = new Set((at.use.updates ?? []).slice(0, at.policy.updates).flatMap((set) => [...set]));
      for (const template of gone(at)) {
        assert.equal(template.bakedBy, STACK);
        assert.ok(template.definition && !template.isProtected);
        assert.ok(!at.use.images.has(template.image) && !needed.has(template.image));
        assert.ok(at.use.bases !== undefined && !at.use.bases.has(template.vmid));
      }
    });
  });

  it("leaves as many versions of each definition as it is told", () => {
    holds((at) => {
      const own = at.templates.filter(({ bakedBy }) => bakedBy === STACK);
      const left = own.filter((template) => !gone(at).includes(template));
      for (const name of names) {
        const count = (list: BakedTemplate[]) =>
          new Set(list.filter(({ definition }) => definition?.name === name).map((one) => one.image)).size;
        assert.ok(count(left) >= Math.min(at.policy.versions, count(own)));
      }
    });
  });

  it("removes nothing while anything is not known", () => {
    holds((at) => {
      const isKnown = at.use.updates !== undefined && at.use.bases !== undefined && at.use.silentHosts.length === 0;
      if (!isKnown) assert.deepEqual(gone(at), []);
    });
  });

  it("has nothing more to remove after it was carried out", () => {
    holds((at) => {
      const left = at.templates.filter((template) => !gone(at).includes(template));
      assert.deepEqual(gone({ ...at, templates: left }), []);
    });
  });

  it("removes no more when it is told to keep more, and the same in any order", () => {
    holds((at) => {
      const ids = (list: BakedTemplate[]) => list.map(({ vmid }) => vmid).toSorted();
      const all = ids(gone(at));
      const more = ids(gone({ ...at, policy: { versions: at.policy.versions + 1, updates: at.policy.updates + 1 } }));
      assert.deepEqual(
        more.filter((vmid) => !all.includes(vmid)),
        [],
      );
      assert.deepEqual(ids(gone({ ...at, templates: at.templates.toReversed() })), all);
    });
  });
});
