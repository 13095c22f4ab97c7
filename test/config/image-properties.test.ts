import assert from "node:assert/strict";
import { posix } from "node:path";
import fc from "fast-check";
import { parse, stringify } from "yaml";
import type { DefinitionFault } from "../../src/config/image-definition.ts";
import { contentDigest } from "../../src/domain/images/definition.ts";
import { diffOf } from "../../src/domain/images/image-diff.ts";
import { PUBLIC_SOURCES, userData } from "../../src/domain/images/user-data.ts";
import { entry, exampleText, readAs } from "../support/image-folder.ts";

/** Each fault of image.yaml says where in the text it is; no text of a fault is a slip of the program. */
function assertPlaced(text: string, faults: readonly DefinitionFault[]): void {
  const lines = text.split("\n");
  assert.ok(faults.length > 0);
  for (const { file, place, what, todo } of faults) {
    assert.equal(file, "image.yaml");
    assert.ok(place, what);
    assert.ok(place.line >= 1 && place.line <= lines.length, `${what}: line ${place.line} of ${lines.length}`);
    assert.ok(
      place.column >= 1 && place.column <= (lines[place.line - 1] ?? "").length + 1,
      `${what}: ${place.column}`,
    );
    for (const said of [what, todo]) {
      assert.match(said, /\w/);
      for (const slip of [/undefined/i, /NaN/i, /\[object /]) if (!slip.test(text)) assert.doesNotMatch(said, slip);
    }
  }
}

const fragments = fc.constantFrom(
  ...[
    "\n",
    " ",
    "  ",
    ":",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "#",
    '"',
    "'",
    "|",
    ">",
    "*a",
    "&a ",
    "!!map ",
    "? ",
    "---\n",
    "\t",
  ],
  ...["null", "true", "0x10", "1e3", ".nan", "~", "v1.0.0", "20260901T000000Z", "__proto__: 1\n", "constructor: {}\n"],
  ...[
    "packages: []\n",
    "rke2: {}\n",
    "sysctl:\n  a.b: [1]\n",
    "modes: {/etc/x: 0644}\n",
    "\u0000",
    "\uFEFF",
    "é",
    "𝒳",
    "\r\n",
    "%YAML 1.1\n",
  ],
);

/** One change of a text, at a place that is a share of its length. */
type Edit = { at: number; remove: number; insert: string } | { from: number; to: number };
const share = fc.double({ min: 0, max: 1, noNaN: true });
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ at: share, remove: fc.constant(0), insert: fragments }),
  fc.record({ at: share, remove: fc.integer({ min: 1, max: 30 }), insert: fc.constant("") }),
  fc.record({ at: share, remove: fc.constant(1), insert: fc.constantFrom("0", "a", "Z", ".", "/", "-") }),
  fc.record({ from: share, to: share }),
);

function changed(text: string, change: Edit): string {
  if ("at" in change) {
    const place = Math.floor(change.at * text.length);
    return text.slice(0, place) + change.insert + text.slice(place + change.remove);
  }
  const lines = text.split("\n");
  const [line = ""] = lines.splice(Math.floor(change.from * lines.length), 1);
  lines.splice(Math.floor(change.to * lines.length), 0, line);
  return lines.join("\n");
}

const shell = new Map([["run.sh", Buffer.from("#!/bin/sh\n")]]);

describe("a definition, whatever it says", () => {
  it("is read, or refused with the place of each fault, when bytes are chance", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const read = readAs(bytes);
        assert.ok("faults" in read);
        assertPlaced(new TextDecoder().decode(bytes), read.faults);
      }),
      { numRuns: 2000 },
    );
  });

  it("is read, or refused with the place of each fault, when a right one is edited", function () {
    this.timeout(60_000);
    const outcomes = { read: 0, refused: 0 };
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        const text = edits.reduce(changed, exampleText);
        const bytes = Buffer.from(text);
        const read = readAs(bytes);
        if ("faults" in read) {
          outcomes.refused++;
          assertPlaced(new TextDecoder().decode(bytes), read.faults);
        } else {
          outcomes.read++;
          const again = readAs(bytes);
          assert.ok("definition" in again);
          assert.equal(contentDigest(read.definition), contentDigest(again.definition));
          // Whatever is read can be baked.
          const { definition, contents } = read;
          assert.match(userData({ definition, contents, shell, sources: PUBLIC_SOURCES }), /^#cloud-config\n/);
        }
      }),
      { numRuns: 700 },
    );
    assert.ok(outcomes.read > 20 && outcomes.refused > 100, JSON.stringify(outcomes));
  });

  it("is read and can be baked, or refused by file, whatever its files are called and hold", () => {
    const plain = fc.constantFrom("a", "10-a", "etc/a", "etc/b.d/10-c.conf", "usr/local/bin/x");
    const odd = fc.oneof(
      fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 8 }),
      fc.constantFrom("..", "etc/../x", "a b", "\u00e4", "x".repeat(1100), "etc//a"),
    );
    const name = fc.oneof({ weight: 4, arbitrary: plain }, { weight: 1, arbitrary: odd });
    const file = fc.tuple(
      fc.constantFrom("files", "files", "files", "scripts", "tests"),
      name,
      fc.oneof(fc.uint8Array({ maxLength: 30 }), fc.constant(Buffer.from("#!/bin/sh\ntrue\n"))),
      fc.boolean(),
    );
    const outcomes = { read: 0, refused: 0 };
    fc.assert(
      fc.property(fc.array(file, { minLength: 1, maxLength: 3 }), (files) => {
        const others = files.map(([folder, path, bytes, isExecutable]) =>
          entry(`${folder}/${path}`, bytes, isExecutable),
        );
        const read = readAs(exampleText, others);
        if ("faults" in read) {
          outcomes.refused++;
          assert.ok(read.faults.length > 0);
          for (const { file: at } of read.faults)
            assert.ok(
              others.some(({ path }) => path === at),
              at,
            );
          return;
        }
        outcomes.read++;
        const { definition, contents } = read;
        assert.match(userData({ definition, contents, shell, sources: PUBLIC_SOURCES }), /^#cloud-config\n/);
        for (const { path } of definition.files) assert.equal(posix.normalize(path), path);
      }),
      { numRuns: 400 },
    );
    assert.ok(outcomes.read > 50 && outcomes.refused > 50, JSON.stringify(outcomes));
  });

  it("has the digest that it had, when keys and lists are written in another order and style", () => {
    const value = parse(exampleText) as Record<string, unknown>;
    const packages = ["nfs-common", "open-iscsi", "zfsutils-linux", "jq"];
    const shuffled = <T>(list: readonly T[]) => fc.shuffledSubarray([...list], { minLength: list.length });
    const digest = (text: string): string => {
      const read = readAs(text);
      assert.ok("definition" in read, JSON.stringify(read));
      return contentDigest(read.definition);
    };
    const expected = digest(stringify({ ...value, packages }));
    fc.assert(
      fc.property(
        shuffled(packages),
        shuffled(Object.keys(value)),
        shuffled(Object.entries((value.rke2 as { artefacts: object }).artefacts)),
        fc.boolean(),
        (list, keys, artefacts, isFlow) => {
          const rke2 = { ...(value.rke2 as object), artefacts: Object.fromEntries(artefacts) };
          const all: Record<string, unknown> = { ...value, rke2, packages: list };
          const text = stringify(Object.fromEntries(keys.map((key) => [key, all[key]])), {
            collectionStyle: isFlow ? "flow" : "block",
          });
          assert.equal(digest(text), expected);
        },
      ),
    );
  });

  it("has another digest, and a difference, for any byte of a file that changes", () => {
    const path = fc.constantFrom("files/etc/a", "scripts/10-a", "tests/a");
    fc.assert(
      fc.property(
        path,
        fc.uint8Array({ minLength: 1, maxLength: 50 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (file, bytes, index, change) => {
          const head = Buffer.from("#!/bin/sh\n");
          const other = Uint8Array.from(bytes);
          const place = index % bytes.length;
          other[place] = (bytes[place] ?? 0) ^ change;
          const [one, two] = [bytes, other].map((content) =>
            readAs(exampleText, [entry(file, Buffer.concat([head, content]))]),
          );
          // Random bytes may have a CR before an LF.
          fc.pre(one !== undefined && two !== undefined && "definition" in one && "definition" in two);
          assert.notEqual(contentDigest(one.definition), contentDigest(two.definition));
          assert.equal(diffOf(one.definition, two.definition).changes.length, 1);
        },
      ),
    );
  });
});
