import assert from "node:assert/strict";
import fc from "fast-check";
import { parse, stringify } from "yaml";
import { withValues, type NewValue } from "../../src/config/image-edit.ts";

const text = `# yaml-language-server: $schema=x
version: v1.0.0 # raise it

base:
  # signed
  sha256:   "aa"   # of the file
  serial: 1
rke2: {cni: [canal], files: {}}
artefacts:
    b.txt: 22  # the list

    a.txt: 11 # the first

# the end
last: true`;

describe("values of a YAML file", () => {
  const cases: [string, NewValue[], (before: string) => string][] = [
    ["nothing", [], (before) => before],
    [
      "a value, and leaves its comment",
      [{ path: ["version"], value: "v1.1.0" }],
      (before) => before.replace("v1.0.0 #", "v1.1.0 #"),
    ],
    ["a value in quotes", [{ path: ["base", "sha256"], value: "bb" }], (before) => before.replace('"aa"', "bb")],
    [
      "one that would be a number",
      [{ path: ["base", "sha256"], value: "12e4" }],
      (before) => before.replace('"aa"', '"12e4"'),
    ],
    [
      "several, in any order",
      [
        { path: ["artefacts", "a.txt"], value: "x" },
        { path: ["version"], value: "y" },
        { path: ["artefacts", "b.txt"], value: "z" },
      ],
      (before) => before.replace("11", "x").replace("v1.0.0", "y").replace("22", "z"),
    ],
    [
      "what is not there yet, after the last of its map",
      [
        { path: ["artefacts", "c.txt"], value: "33" },
        { path: ["artefacts", "d.txt"], value: "44" },
      ],
      (before) => before.replace("# the first\n", '# the first\n    c.txt: "33"\n    d.txt: "44"\n'),
    ],
    [
      "what is not there yet in braces",
      [
        { path: ["rke2", "files", "c"], value: "x" },
        { path: ["rke2", "version"], value: "y" },
      ],
      (before) => before.replace("{}}", "{c: x}, version: y}"),
    ],
    ["what is not there yet in the last line", [{ path: ["new"], value: "x" }], (before) => `${before}\nnew: x`],
  ];
  for (const [name, values, expected] of cases)
    it(`change by ${name}`, () => assert.equal(withValues(text, values), expected(text)));

  it("that are no values are not changed", () => {
    for (const path of [["base"], ["version", "x"], ["missing", "x"], ["rke2", "cni"]])
      assert.throws(() => withValues(text, [{ path, value: "x" }]), /is no value of a map/);
  });

  it("are read back as they were given, and all others as they were", () => {
    const key = fc.stringMatching(/^[a-z][a-z0-9.-]{0,8}$/);
    const map = fc.dictionary(key, fc.string(), { minKeys: 1, maxKeys: 5, noNullPrototype: true });
    fc.assert(
      fc.property(map, map, (before, changes) => {
        const edited = withValues(
          stringify({ outer: before, other: { kept: 1 } }),
          Object.entries(changes).map(([name, value]) => ({ path: ["outer", name], value })),
        );
        assert.deepEqual(parse(edited), { outer: { ...before, ...changes }, other: { kept: 1 } });
      }),
    );
  });
});
