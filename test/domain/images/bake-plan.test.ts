import assert from "node:assert/strict";
import type { BakeOrder } from "../../../src/domain/images/bake.ts";
import {
  bakeWords,
  duePlanProblems,
  isDue,
  type PlannedBake,
  type SigningDemand,
} from "../../../src/domain/images/bake-plan.ts";
import { definitionFixture } from "../../support/image-definition.ts";

const place = { host: "pve1", pool: "templates", storage: "local", imageStorage: "images", bridge: "vmbr0" };

function planned(version: string, state: PlannedBake["state"]): PlannedBake {
  const definition = { ...definitionFixture, name: "storage", version };
  const bake = { definition, vmid: 9100, digest: "d".repeat(64), place } as unknown as BakeOrder;
  return { bake, state };
}

describe("what a run does for its images", () => {
  it("is nothing for one that is proved, that is not to be trusted, or whose host does not answer", () => {
    const states = (["missing", "unproved", "proved", "distrusted", "silent"] as const).map((state) =>
      isDue({ state }),
    );
    assert.deepEqual(states, [true, true, false, false, false]);
  });

  it("is said in words, with the pools that get nodes of it", () => {
    const rolled = new Map([
      ["storage-v1.1.0", ["servers", "workers"]],
      ["storage-v1.3.0", ["workers"]],
    ]);
    const words = bakeWords(
      [planned("v1.1.0", "missing"), planned("v1.2.0", "unproved"), planned("v1.3.0", "proved")],
      rolled,
    );
    assert.equal(words.length, 2);
    assert.match(
      words[0] ?? "",
      /^bake storage-v1\.1\.0 \(definition sha256:[0-9a-f]{16}, VM 9100 on pve1\), prove it, then roll servers, workers$/,
    );
    assert.match(words[1] ?? "", /^prove storage-v1\.2\.0 \(.*\), and no pool gets nodes of it in this run$/);
  });
});

describe("a run that bakes", () => {
  const key = { id: "k1", name: "site", from: "2026-01-01T00:00:00Z", until: "2026-12-31T00:00:00Z" };
  const now = new Date("2026-08-01T00:00:00Z");
  const demand = (changes: Partial<SigningDemand> = {}): SigningDemand => ({
    ...{ unsigned: "refuse", keys: [key], signedBy: "k1", signs: true },
    ...changes,
  });
  const due = [planned("v1.1.0", "missing")];
  const rows: [what: string, SigningDemand, cloned: string[], at: Date, says: RegExp | undefined][] = [
    ["with a trusted key", demand(), ["storage-v1.1.0"], now, undefined],
    ["without a key", demand({ signedBy: undefined }), [], now, /no key to sign the records of storage-v1\.1\.0/],
    ["without a key, in a preview", demand({ signedBy: undefined, signs: false }), [], now, undefined],
    ["without a key, where none is asked for", demand({ signedBy: undefined, unsigned: "accept" }), [], now, undefined],
    ["with a strange key", demand({ signedBy: "k2" }), [], now, /is not among those that this stack trusts/],
    ["with a strange key, in a preview", demand({ signedBy: "k2", signs: false }), [], now, /not among those/],
    [
      "with a strange key, where none is asked for",
      demand({ signedBy: "k2", unsigned: "accept" }),
      [],
      now,
      /not among/,
    ],
    ["before the key is valid", demand(), [], new Date("2025-12-31T23:59:59Z"), /the key site, .* is not valid now/],
    ["after the key was valid", demand(), [], new Date("2027-01-01T00:00:00Z"), /the key site, .* is not valid now/],
    [
      "what another stack has to prove, and rolls it",
      demand({ proof: { stacks: ["evergreen/dev"] } }),
      ["storage-v1.1.0"],
      now,
      /storage-v1\.1\.0 is baked by this run, so no other stack can have proved it/,
    ],
    [
      "what another stack has to prove, and rolls it not",
      demand({ proof: { stacks: ["a/b"] } }),
      ["other"],
      now,
      undefined,
    ],
  ];
  for (const [what, its, cloned, at, says] of rows)
    it(`${says === undefined ? "may begin" : "is refused"} ${what}`, () => {
      const problems = duePlanProblems(due, new Set(cloned), its, at);
      assert.equal(problems.length, says === undefined ? 0 : 1, JSON.stringify(problems));
      if (says) assert.match(problems[0]?.what ?? "", says);
    });

  it("asks for nothing when nothing is due", () => {
    assert.deepEqual(duePlanProblems([], new Set(), demand({ signedBy: undefined }), now), []);
  });
});
