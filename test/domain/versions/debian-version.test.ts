import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { compareDebianVersions, parseDebianVersion } from "../../../src/domain/versions/debian-version.ts";
import { projectRoot } from "../../../src/runtime/project.ts";

const table = readFileSync(join(projectRoot, "test/fixtures/debian-versions.txt"), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => line.split(" ") as [string, string, string]);

/** `<`, `=`, `>` as dpkg prints them; `!` when one of the two is no version. */
function relation(a: string, b: string): string {
  const [left, right] = [parseDebianVersion(a), parseDebianVersion(b)];
  if (left === undefined || right === undefined) return "!";
  return ["<", "=", ">"][Math.sign(compareDebianVersions(left, right)) + 1] ?? "";
}

describe("versions of Debian packages", () => {
  it("have the order of dpkg", () => {
    assert.ok(table.length > 400, `${table.length} pairs`);
    const wrong = table.filter(([a, said, b]) => relation(a, b) !== said);
    assert.deepEqual(wrong, []);
  });

  const version = fc.constantFrom(...new Set(table.filter(([, said]) => said !== "!").flatMap(([a, , b]) => [a, b])));

  it("are of one order: of two the same is said from both sides", () => {
    const opposite = { "<": ">", ">": "<", "=": "=" } as Record<string, string>;
    fc.assert(fc.property(version, version, (a, b) => assert.equal(relation(b, a), opposite[relation(a, b)])));
  });

  it("are of one order: what is between two is between them", () => {
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        const compare = (left: string, right: string) => ["<", "=", ">"].indexOf(relation(left, right));
        const [low = "", middle = "", high = ""] = [a, b, c].toSorted((left, right) => compare(left, right) - 1);
        assert.ok(compare(low, middle) <= 1 && compare(middle, high) <= 1 && compare(low, high) <= 1);
      }),
      { numRuns: 1000 },
    );
  });

  it("have no length at which digits are lost", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 10n ** 40n }), fc.bigInt({ min: 0n, max: 10n ** 40n }), (a, b) => {
        const expected = a < b ? "<" : a > b ? ">" : "=";
        assert.equal(relation(`1.${a}-1`, `1.${b}-1`), expected);
      }),
    );
  });

  for (const text of [
    "",
    "a1",
    "1:",
    ":1",
    "x:1",
    "1-",
    "1-1_2",
    "1 2",
    "2147483648:1",
    "99999999999:1",
    "1\n",
    "1-\n",
    "-1",
    "1-é",
  ])
    it(`are not ${JSON.stringify(text)}`, () => assert.equal(parseDebianVersion(text), undefined));
});
