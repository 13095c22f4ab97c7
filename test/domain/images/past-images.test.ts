import assert from "node:assert/strict";
import fc from "fast-check";
import { pastImages, type PastUpdate } from "../../../src/domain/images/past-images.ts";

const json = (value: unknown) => ({ value: JSON.stringify(value), objectValue: value });
const configOf = (servers: string, ...pools: string[]): PastUpdate["config"] => ({
  "evergreen:controlPlane": json({ image: servers, servers: 3 }),
  "evergreen:pools": json(pools.map((image, i) => ({ name: `pool${i}`, image }))),
  "evergreen:registries": {},
});
const at = (minute: number): string => new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString();
/** Updates in the order in which they happened. */
const history = (...entries: [result: string, config: PastUpdate["config"], kind?: string][]): PastUpdate[] =>
  entries.map(([result, config, kind = "update"], minute) => ({ kind, result, endTime: at(minute), config }));
const read = (updates: PastUpdate[]) => pastImages(updates)?.map((images) => [...images].toSorted());

describe("the images of past updates", () => {
  const good = "succeeded";
  const table: [string, PastUpdate[], string[][] | undefined][] = [
    ["are none where there was no update", [], []],
    [
      "are those of servers and of every pool, newest first",
      history([good, configOf("a", "b")], [good, configOf("c", "d")]),
      [
        ["c", "d"],
        ["a", "b"],
      ],
    ],
    [
      "are those of bakes too",
      history([good, { ...configOf("a"), "evergreen:images": json({ bakes: { images: [{ image: "b", vmid: 9 }] } }) }]),
      [["a", "b"]],
    ],
    [
      "do not leave the past because a stack is updated again and again with the same",
      history([good, configOf("a")], [good, configOf("b")], [good, configOf("b")], [good, configOf("b")]),
      [["b"], ["a"]],
    ],
    [
      "of one that failed belong to the good one before it",
      history([good, configOf("a")], ["failed", configOf("b")], [good, configOf("c")]),
      [["c"], ["a", "b"]],
    ],
    ["of ones that failed alone are known", history(["failed", configOf("a")]), [["a"]]],
    ["are not those of a refresh", history([good, configOf("a")], [good, configOf("b"), "refresh"]), [["a"]]],
    [
      "are read from the text where there is nothing else",
      history([good, { "evergreen:controlPlane": { value: '{"image":"a"}' } }]),
      [["a"]],
    ],
    ["are not known when the servers are secret", history([good, { "evergreen:controlPlane": {} }]), undefined],
    ["are not known when the pools are", history([good, { ...configOf("a"), "evergreen:pools": {} }]), undefined],
    ["are not known without servers", history([good, {}]), undefined],
    [
      "are not known when a text is no JSON",
      history([good, { ...configOf("a"), "evergreen:pools": { value: "[" } }]),
      undefined,
    ],
    [
      "are not known when it is JSON of no list",
      history([good, { ...configOf("a"), "evergreen:pools": { value: '"b"' } }]),
      undefined,
    ],
    [
      "are not known when an image is no text",
      history([good, { ...configOf("a"), "evergreen:pools": json([{ image: { secure: "x" } }]) }]),
      undefined,
    ],
    [
      "are not known when one of many cannot be read",
      history([good, { "evergreen:controlPlane": {} }], [good, configOf("a")]),
      undefined,
    ],
    [
      "are not known without their order",
      [{ kind: "update", result: good, endTime: "", config: configOf("a") }],
      undefined,
    ],
  ];
  for (const [name, updates, expected] of table) it(name, () => assert.deepEqual(read(updates), expected));

  it("have each good update no further back than counted one by one, in any order of the entries", () => {
    const entry = fc.tuple(
      fc.constantFrom(good, good, "failed"),
      fc.constantFrom("a", "b", "c"),
      fc.constantFrom("a", "d"),
    );
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 12 }), (list) => {
        const updates = history(
          ...list.map(([result, servers, pool]) => [result, configOf(servers, pool)] as [string, PastUpdate["config"]]),
        );
        const past = pastImages(updates) ?? [];
        assert.deepEqual(pastImages(updates.toReversed()), past);
        const goods = list.filter(([result]) => result === good).toReversed();
        for (const [back, [, servers, pool]] of goods.entries())
          for (const image of [servers, pool]) assert.ok(past.slice(0, back + 1).some((images) => images.has(image)));
      }),
    );
  });
});
