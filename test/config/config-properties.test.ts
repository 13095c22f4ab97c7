import assert from "node:assert/strict";
import fc, { type Arbitrary } from "fast-check";
import { z } from "zod";
import { adoptionsOf, poolSpecs, readConfig, stepSite } from "../../src/config/config.ts";
import { stackSchemaSource } from "../../src/config/editor-schema.ts";
import { hardwareOfNodes } from "../../src/config/node-hardware.ts";
import { placementsOf } from "../../src/config/placement.ts";
import { configurationShape, type Shape } from "../../src/config/shape.ts";
import { UserErrors } from "../../src/runtime/errors.ts";
import { generationOf } from "../../src/domain/model/generation.ts";
import { agents, IMAGES, minimal } from "../support/config.ts";

/** What the shape says of a key beside its type. */
interface Drawn extends Shape {
  pattern?: string;
  maxItems?: number;
  additionalProperties?: Drawn | boolean;
  propertyNames?: Drawn;
}

/** Values of the kinds that a shape describes in words alone. */
const inWords: [words: RegExp, values: unknown[]][] = [
  [
    /IPv4 address, or a block/,
    ["10.0.0.20", "10.0.0.30-10.0.0.49", "10.0.0.40-10.0.0.60", "10.0.1.20-10.0.1.150", "255.255.255.250"],
  ],
  [
    /IPv6 address, or a block/,
    ["fd00::20", "fd00::30-fd00::49", "FD00::0:40-fd00::c0", "fd00:1::20-fd00:1::120", "ffff::", "fe80::1"],
  ],
  [/host name, IPv4 or/, ["k8s.example.org", "10.0.0.5", "10.0.0.21", "fd00::5", "FD00:0::20"]],
  [/^IPv4 address/, ["10.0.0.20", "10.0.1.1", "0.0.0.0", "255.255.255.255"]],
  [/^IPv6 address/, ["fd00::20", "FD00:0::21", "fd00::10.0.0.5", "fe80::1", "fd00:1::ffff:ffff:ffff:fff0"]],
  [/^IP address/, ["10.0.0.53", "fd00::53", "::ffff:10.0.0.53"]],
  [/Effect/, ["a=b:NoSchedule", "a:NoSchedule", "a=c:NoExecute", "example.com/x=y:PreferNoSchedule"]],
  [/percentage/, [0, 1, 2, 7, "0%", "10%", "100%", "999%"]],
  [/name of a template/, [...IMAGES.keys(), "debian-v2.0.0"]],
  [/begins with a letter/, ["demo", "workers", "servers", "a", "a-b", "x".repeat(40)]],
];

const labels = ["example.com/x", "kubernetes.io/hostname", "evergreen.dev/a", "a", "constructor"];
const rke2Keys = ["kubelet-arg", "tls-san", "cni+", "data-dir", "T", "constructor", "__proto__", "x-password"];
/** VMIDs, mostly of a pool of their own. */
const range = fc
  .tuple(fc.integer({ min: 1, max: 40 }), fc.constantFrom(99, 99, 99, 150, 3, -1))
  .map(([hundred, size]) => ({ first: hundred * 100, last: hundred * 100 + size }));
const words = ["pve1", "local", "a", "vmbr0", "10.0.0.5"];

/** Values that no key, or nearly none, can have. Each is one that a YAML file can hold. */
const odd = fc.oneof(
  fc.constantFrom<unknown>(null, "", " ", -1, 0, 1.5, 1e300, Number.NaN, Infinity, 2 ** 53, [], [[]], {}, [{}], "a: b"),
  fc.constantFrom<unknown>(
    "10.0.0.256",
    "10.0.0.9-10.0.0.1",
    "fd00::9-fd00::1",
    "::",
    "x:Never",
    "-1%",
    true,
    "\u0000",
    { a: null },
  ),
  fc.jsonValue({ maxDepth: 2 }),
);

interface Kind {
  /** How many of 1,000 values are odd ones. */
  odds: number;
  /** The most keys of a map that it could do without. */
  most: number;
}

function drawn(shape: Drawn, kind: Kind): Arbitrary<unknown> {
  const right = rightly(shape, kind);
  const { odds } = kind;
  return odds === 0 ? right : fc.oneof({ weight: 1000 - odds, arbitrary: right }, { weight: odds, arbitrary: odd });
}

function rightly(shape: Drawn, kind: Kind): Arbitrary<unknown> {
  const values = inWords.find(([about]) => about.test(shape.values ?? ""))?.[1];
  if (values !== undefined) return fc.constantFrom(...values);
  if (shape.enum) return fc.constantFrom(...shape.enum);
  const { minimum = -5, maximum = 10 ** 9, minItems = 0, maxItems = 3, items, properties, required = [] } = shape;
  if (items) return fc.array(drawn(items, kind), { minLength: minItems, maxLength: Math.min(maxItems, 3) });
  if (properties?.first && properties.last) return range;
  if (properties) return mapOf(properties, required, kind);
  switch (shape.type) {
    case "boolean":
      return fc.boolean();
    case "integer":
      return fc.oneof(
        { weight: 9, arbitrary: fc.integer({ min: minimum, max: Math.min(maximum, minimum + 9) }) },
        { weight: 1, arbitrary: fc.constant(maximum) },
      );
    case "number":
      return fc.double({ min: minimum, max: maximum, noNaN: true });
    case "object":
      if (typeof shape.additionalProperties === "object" && shape.additionalProperties.type === "integer")
        return fc.dictionary(fc.constantFrom("pve1", "local", "pve99"), fc.integer({ min: 0, max: 3 }), { maxKeys: 2 });
      return shape.propertyNames?.pattern === undefined
        ? fc.dictionary(fc.constantFrom(...rke2Keys), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 2 })
        : fc.dictionary(fc.constantFrom(...labels), fc.constantFrom("", "b", "x_y"), { maxKeys: 2 });
    default:
      if (shape.pattern === undefined) return fc.constantFrom(...words);
      // The name of a label looks ahead, which is not drawn.
      return shape.pattern.includes("(?=") ? fc.constantFrom(...labels) : fc.stringMatching(new RegExp(shape.pattern));
  }
}

function mapOf(properties: Record<string, Shape>, required: string[], kind: Kind): Arbitrary<unknown> {
  const { odds, most } = kind;
  const all = Object.fromEntries(Object.entries(properties).map(([key, one]) => [key, drawn(one, kind)]));
  const known = fc
    .shuffledSubarray(
      Object.keys(all).filter((key) => !required.includes(key)),
      { maxLength: Math.min(most, Object.keys(all).length - required.length) },
    )
    .chain((some) => fc.record(Object.fromEntries([...required, ...some].map((key) => [key, all[key] ?? odd]))));
  if (odds === 0) return known;
  const without = fc.tuple(known, fc.constantFrom(...required, "none"));
  const misspelt = fc.tuple(known, fc.constantFrom(...Object.keys(all)));
  return fc.oneof(
    { weight: 1000 - odds, arbitrary: known },
    { weight: odds, arbitrary: without.map(([map, key]) => ({ ...map, [key]: undefined })).map(asRead) },
    { weight: odds, arbitrary: misspelt.map(([map, key]) => ({ ...map, [`${key}s`]: 1 })) },
  );
}

/** A map as a parser gives it: a key without a value is none. */
const asRead = (map: object): object =>
  Object.fromEntries(Object.entries(map).filter(([, value]) => value !== undefined));

/** What no message says, unless it quotes a value that says it. */
const slips = [/undefined/, /NaN/, /\[object /, /to -\d/];

describe("configuration, whatever it says", () => {
  it("is read, as an editor does, or refused with a path and a remedy for each problem", function () {
    this.timeout(60_000);
    const shape = configurationShape();
    const editor = z.fromJSONSchema(JSON.parse(stackSchemaSource()) as Parameters<typeof z.fromJSONSchema>[0]);
    const outcomes = { read: 0, refused: 0 };
    fc.assert(
      fc.property(
        fc.oneof(
          drawn(shape, { odds: 0, most: 2 }),
          drawn(shape, { odds: 0, most: 8 }),
          drawn(shape, { odds: 3, most: 4 }),
          drawn(shape, { odds: 60, most: 8 }),
        ),
        (raw) => {
          try {
            const config = readConfig(raw);
            outcomes.read++;
            const given = Object.entries(raw as object).map(([key, value]) => [`evergreen:${key}`, value] as const);
            assert.equal(editor.safeParse({ config: Object.fromEntries(given) }).error, undefined);
            stepSite(config);
            adoptionsOf(config);
            placementsOf(config);
            hardwareOfNodes(config);
            poolSpecs(config, IMAGES);
          } catch (error) {
            assert.ok(error instanceof UserErrors, error instanceof Error ? error.stack : String(error));
            outcomes.refused++;
            assert.ok(error.problems.length > 0);
            const notSaid = slips.filter((slip) => !slip.test(JSON.stringify(raw)));
            for (const problem of error.problems) {
              assert.match(problem.where, /^evergreen:/);
              for (const text of [problem.what, problem.todo]) {
                assert.match(text, /\w/);
                for (const slip of notSaid) assert.doesNotMatch(text, slip);
              }
            }
          }
        },
      ),
      { numRuns: 10_000 },
    );
    assert.ok(outcomes.read > 500 && outcomes.refused > 500, JSON.stringify(outcomes));
  });

  /** A key of a pool, the value of one that may stand there, and what the page says of a change of it. */
  interface Changed {
    path: string[];
    shape: Drawn;
    change: string;
  }

  function changedIn({ properties = {} }: Drawn, path: string[] = []): Changed[] {
    return Object.entries<Drawn>(properties).flatMap(([key, shape]): Changed[] => {
      const at = [...path, key];
      const own = shape.change === undefined ? [] : [{ path: at, shape, change: shape.change }];
      return [...own, ...changedIn(shape, at), ...changedIn(shape.items ?? {}, [...at, "0"])];
    });
  }
  const ofPools = changedIn(configurationShape().properties?.pools?.items ?? {}).filter(
    ({ path }) => !["name", "vmIds", "adopt"].includes(path[0] ?? ""),
  );
  /** What entries of lists cannot do without. */
  const entries: Record<string, object> = {
    networks: { bridge: "vmbr0" },
    disks: { name: "data", sizeGiB: 5 },
    devices: { mapping: "gpu" },
  };

  it("finds the keys of a pool", () => assert.ok(ofPools.length > 50, `${ofPools.length}`));

  for (const { path, shape, change } of ofPools)
    it(`makes ${change.startsWith("New generation") ? "another" : "the same"} generation with ${path.join(".")}, as the page says`, () => {
      const [first = ""] = path;
      const entry = path.includes("0") ? entries[first] : undefined;
      const idOf = (value: unknown): string | undefined => {
        const nested = path
          .slice(1)
          .reduceRight<unknown>(
            (inner, key) => (key === "0" ? [{ ...entry, ...(inner as object) }] : { [key]: inner }),
            value,
          );
        const base = first === "strategy" ? { soakSeconds: 5 } : {};
        const own = path.length > 1 && !path.includes("0") ? { ...base, ...(nested as object) } : nested;
        try {
          return generationOf(agents(readConfig(minimal({ [first]: own }))).node).id;
        } catch (error) {
          assert.ok(error instanceof UserErrors, String(error));
          return undefined;
        }
      };
      const drawnValues = fc.sample(drawn(shape, { odds: 0, most: 1 }), 200);
      const ids = new Set(drawnValues.map(idOf).filter((id) => id !== undefined));
      assert.ok(ids.size > 0, `no value that can be read: ${JSON.stringify(drawnValues.slice(0, 5))}`);
      if (change.startsWith("New generation"))
        assert.ok(ids.size > 1, `one generation for ${JSON.stringify(drawnValues)}`);
      else assert.equal(ids.size, 1, `several generations for ${JSON.stringify(drawnValues)}`);
    });
});
