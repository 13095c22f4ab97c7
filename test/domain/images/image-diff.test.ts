import assert from "node:assert/strict";
import fc from "fast-check";
import { digestOf, type ImageDefinition } from "../../../src/domain/images/definition.ts";
import { diffLines, diffOf } from "../../../src/domain/images/image-diff.ts";
import { definitionFixture, sha } from "../../support/image-definition.ts";

const digest = (definition: ImageDefinition): string => digestOf(definition, {});

/** Definitions of which many are equal, or differ in little. */
const definitions: fc.Arbitrary<ImageDefinition> = (() => {
  const some = <T>(...values: T[]) =>
    fc.subarray(values).chain((list) => fc.shuffledSubarray(list, { minLength: list.length }));
  const file = (path: string) =>
    fc.record({
      path: fc.constant(path),
      sha256: fc.constantFrom(sha("1"), sha("2")),
      mode: fc.constantFrom("0644", "0755"),
    });
  const files = fc.tuple(file("(order)"), file("b")).chain((both) => fc.shuffledSubarray(both));
  return fc.record({
    name: fc.constantFrom("a", "b"),
    version: fc.constantFrom("v1.0.0", "v1.1.0"),
    base: fc.record({
      url: fc.constantFrom("https://a", "https://b"),
      sha256: fc.constantFrom(sha("a"), sha("b")),
      serial: fc.constant("20260725"),
      signedBy: fc.constantFrom("A", "B"),
    }),
    archiveDate: fc.constantFrom("20260801T000000Z", "20260901T000000Z"),
    packages: some("a", "b"),
    hold: some("a", "b"),
    diskGiB: fc.constantFrom(12, 16),
    rke2: fc.record({
      version: fc.constantFrom("v1.36.3+rke2r1", "v1.36.4+rke2r1"),
      cni: some("canal", "cilium"),
      artefacts: some({ file: "a", sha256: sha("1") }, { file: "b", sha256: sha("2") }),
    }),
    kernel: fc.record({ parameters: some("a", "b=1"), modules: some("a", "b") }),
    sysctl: fc.dictionary(fc.constantFrom("a.b", "a.c"), fc.constantFrom("1", "2")),
    hardening: fc.constantFrom("none", "cis"),
    ssh: fc.boolean(),
    services: fc.record({ enable: some("a.timer", "b.timer"), mask: some("a.timer", "c.timer") }),
    files,
    scripts: files.map((list) => list.map((one) => ({ ...one, mode: "0755" }))),
    tests: files,
  });
})();

/** A definition, and it again with one of its parts taken from another. */
const pairs = fc
  .tuple(definitions, definitions, fc.nat())
  .map(([one, other, index]): [ImageDefinition, ImageDefinition] => {
    const key = Object.keys(one)[index % Object.keys(one).length] as keyof ImageDefinition;
    return [one, { ...one, [key]: other[key] }];
  });

describe("the difference of two definitions", () => {
  it("is nothing exactly when their digests are equal", () => {
    const seen = { equal: 0, other: 0 };
    fc.assert(
      fc.property(fc.oneof(pairs, fc.tuple(definitions, definitions)), ([one, other]) => {
        const isEqual = digest(one) === digest(other);
        seen[isEqual ? "equal" : "other"]++;
        assert.equal(diffOf(one, other).changes.length === 0, isEqual);
      }),
      { numRuns: 2000 },
    );
    assert.ok(seen.equal > 50 && seen.other > 50, JSON.stringify(seen));
  });

  it("backwards is the same with before and after exchanged", () => {
    fc.assert(
      fc.property(pairs, ([one, other]) => {
        const back = diffOf(other, one).changes.map(({ area, entry, before, after }) => ({
          area,
          entry,
          ...(after === undefined ? {} : { before: after }),
          ...(before === undefined ? {} : { after: before }),
        }));
        assert.deepEqual(back, diffOf(one, other).changes);
      }),
    );
  });

  it("is shown by area, with digests as far as a reader compares them", () => {
    const { rke2, kernel, services } = definitionFixture;
    const other: ImageDefinition = {
      ...definitionFixture,
      version: "v1.3.0",
      packages: ["nfs-common", "jq"],
      rke2: { ...rke2, version: "v1.34.5+rke2r1" },
      kernel: { ...kernel, parameters: kernel.parameters.toReversed() },
      sysctl: { "vm.max_map_count": "1048576" },
      services: { ...services, mask: [] },
      files: definitionFixture.files.map((file) => ({ ...file, sha256: sha("7") })).slice(0, 1),
    };
    assert.deepEqual(diffLines(diffOf(definitionFixture, other)), [
      "ubuntu-24-04-rke2-v1.2.0 -> ubuntu-24-04-rke2-v1.3.0: 11 differences",
      "definition",
      "  ~ version: v1.2.0 -> v1.3.0",
      "packages",
      "  + jq",
      "  - open-iscsi",
      "rke2",
      "  ~ version: v1.34.4+rke2r1 -> v1.34.5+rke2r1",
      "kernel",
      "  ~ (parameters): transparent_hugepage=never quiet -> quiet transparent_hugepage=never",
      "sysctl",
      "  - net.ipv4.ip_forward: 1",
      "  ~ vm.max_map_count: 262144 -> 1048576",
      "services",
      "  - mask apport.service",
      "  - mask multipathd.service",
      "files",
      "  - /etc/audit/rules.d/evergreen.rules: 0640 222222222222",
      "  ~ /etc/motd: 0644 111111111111 -> 0644 777777777777",
    ]);
    assert.deepEqual(diffLines(diffOf(other, other)), [
      "ubuntu-24-04-rke2-v1.3.0 and ubuntu-24-04-rke2-v1.3.0 are equal",
    ]);
  });
});
