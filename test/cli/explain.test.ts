import assert from "node:assert/strict";
import { explained } from "../../cli/explain.ts";

describe("evergreen explain", () => {
  it("says of a key what it means, its values, its default and what a change does", () => {
    const lines = explained("pools.strategy.surge");
    assert.equal(lines[0], "evergreen:pools[].strategy.surge");
    assert.match(lines.join("\n"), /values: +.*percentage[^]*unset: +1\n[^]*change: +In place\./);
  });

  it("lists the keys below a key", () => {
    const lines = explained("evergreen:pools[0].networks");
    assert.ok(
      lines.some((line) => /^ {2}evergreen:pools\[\]\.networks\[\]\.vlan +VLAN tag\.$/.test(line)),
      lines.join("\n"),
    );
  });

  it("takes the key as an editor or a message shows it", () => {
    assert.deepEqual(explained("evergreen:pools[3].slots"), explained("pools.slots"));
  });

  for (const [title, key, says] of [
    ["the path of a key whose end is known", "slots", /no key slots[^]*did you mean pools\.slots\?/],
    ["where all keys are", "colour", /no key colour[^]*npx evergreen explain lists all/],
  ] as const)
    it(`names ${title}`, () => {
      assert.throws(() => explained(key), says);
    });
});
