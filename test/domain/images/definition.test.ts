import assert from "node:assert/strict";
import fc from "fast-check";
import { digestOf, templateNameOf, type ImageDefinition } from "../../../src/domain/images/definition.ts";
import { definitionFixture } from "../../support/image-definition.ts";

const shell = { "bake.sh": "1".repeat(64) };
const digest = (definition: unknown): string => digestOf(definition as ImageDefinition, shell);

type Path = readonly (string | number)[];

/** Every text, number and truth value of a definition, by its path. */
function leavesOf(value: unknown, path: Path = []): { path: Path; value: unknown }[] {
  if (typeof value !== "object" || value === null) return [{ path, value }];
  return Object.entries(value).flatMap(([key, inner]) =>
    leavesOf(inner, [...path, Array.isArray(value) ? Number(key) : key]),
  );
}

/** A copy with another value at a path. */
function withValue(of: unknown, [key, ...rest]: Path, value: unknown): unknown {
  if (key === undefined) return value;
  const copy = (Array.isArray(of) ? [...(of as unknown[])] : { ...(of as object) }) as Record<string | number, unknown>;
  copy[key] = withValue(copy[key], rest, value);
  return copy;
}

describe("the digest of an image", () => {
  const leaves = leavesOf(definitionFixture);

  it("is another one for a change of any value", () => {
    assert.ok(leaves.length > 40, `${leaves.length} values`);
    for (const { path, value } of leaves) {
      const other = typeof value === "boolean" ? !value : typeof value === "number" ? value + 1 : `${String(value)}x`;
      assert.notEqual(digest(withValue(definitionFixture, path, other)), digest(definitionFixture), path.join("."));
    }
  });

  it("is another one for an entry more or less in any list, and for other scripts of the bake", () => {
    const lists = new Set(
      leaves.filter(({ path }) => typeof path.at(-1) === "number").map(({ path }) => path.slice(0, -1)),
    );
    for (const path of lists)
      assert.notEqual(digest(withValue(definitionFixture, path, [])), digest(definitionFixture));
    assert.notEqual(digestOf(definitionFixture, { "bake.sh": "2".repeat(64) }), digest(definitionFixture));
    assert.notEqual(digestOf(definitionFixture, { ...shell, "seal.sh": "1".repeat(64) }), digest(definitionFixture));
  });

  it("does not depend on the order of what has none in an image", () => {
    const { packages, hold, services, files, tests, rke2, kernel } = definitionFixture;
    const shuffled = <T>(list: readonly T[]) => fc.shuffledSubarray([...list], { minLength: list.length });
    fc.assert(
      fc.property(
        fc.record({
          packages: shuffled(packages),
          hold: shuffled(hold),
          files: shuffled(files),
          tests: shuffled(tests),
          services: fc.record({ enable: shuffled(services.enable), mask: shuffled(services.mask) }),
          rke2: fc.record({ cni: shuffled(rke2.cni), artefacts: shuffled(rke2.artefacts) }),
          modules: shuffled(kernel.modules),
          sysctl: shuffled(Object.entries(definitionFixture.sysctl)),
        }),
        ({ rke2: lists, modules, sysctl, ...others }) => {
          const reordered: ImageDefinition = {
            ...definitionFixture,
            ...others,
            rke2: { ...rke2, ...lists },
            kernel: { ...kernel, modules },
            sysctl: Object.fromEntries(sysctl),
          };
          assert.equal(digest(reordered), digest(definitionFixture));
        },
      ),
    );
  });

  it("depends on the order of scripts and of kernel parameters", () => {
    const { scripts, kernel } = definitionFixture;
    for (const other of [
      { ...definitionFixture, scripts: scripts.toReversed() },
      { ...definitionFixture, kernel: { ...kernel, parameters: kernel.parameters.toReversed() } },
    ])
      assert.notEqual(digest(other), digest(definitionFixture));
  });
});

describe("the name of a template", () => {
  it("is that of the definition with its version", () => {
    assert.equal(templateNameOf(definitionFixture), "ubuntu-24-04-rke2-v1.2.0");
  });
});
