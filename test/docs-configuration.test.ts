import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { z } from "zod";
import type { ClusterArgs } from "../components/cluster-args.ts";
import { argumentsSource } from "../src/config/arguments.ts";
import { stackSchemaSource } from "../src/config/editor-schema.ts";
import { configurationKeys, configurationPage, type Key } from "../src/config/page.ts";
import { schema } from "../src/config/schema.ts";
import { configurationShape } from "../src/config/shape.ts";
import { projectRoot } from "../src/runtime/project.ts";

const all = (keys: readonly Key[]): Key[] => keys.flatMap((key) => [key, ...all(key.keys)]);
/** A part of the JSON Schema of a stack. */
interface Described {
  description?: string;
  properties?: Record<string, Described>;
  items?: Described;
}

/** Paths of values that a schema says nothing of. */
function unknownIn(value: unknown, { properties, items }: Described): string[] {
  if (Array.isArray(value)) return items === undefined ? [] : value.flatMap((one) => unknownIn(one, items));
  if (properties === undefined || typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) => {
    const known = properties[key];
    return known === undefined ? [key] : unknownIn(one, known).map((path) => `${key}.${path}`);
  });
}

const isMap = ({ keys }: Key) => keys.length > 0;

describe("the page of the configuration", () => {
  const keys = all(configurationKeys());

  it("is what `npm run docs` writes", () => {
    const page = readFileSync(join(projectRoot, "docs/configuration.md"), "utf8");
    assert.ok(page === configurationPage(), "docs/configuration.md is not that of src/config/schema.ts: npm run docs");
  });

  it("has a JSON Schema beside it, which is what `npm run docs` writes, and knows every key of our own stacks", () => {
    const text = readFileSync(join(projectRoot, "docs/stack.schema.json"), "utf8");
    assert.ok(text === stackSchemaSource(), "docs/stack.schema.json is not that of src/config/schema.ts: npm run docs");
    const stack = JSON.parse(text) as Described;
    for (const file of ["Pulumi.dev.yaml", "Pulumi.prod.yaml"]) {
      const source = readFileSync(join(projectRoot, file), "utf8");
      assert.ok(source.startsWith("# yaml-language-server: $schema=docs/stack.schema.json\n"), file);
      const { config } = parse(source) as { config: object };
      const own = Object.entries(config).filter(([key]) => key.startsWith("evergreen:"));
      assert.deepEqual(unknownIn(Object.fromEntries(own), stack.properties?.config ?? {}), []);
    }
  });

  it("has every key that the page of sites names for what a site may have", () => {
    const page = readFileSync(join(projectRoot, "docs/sites.md"), "utf8");
    const rows = page.split("\n").filter((line) => /^\| (?!-|A site has)/.test(line));
    assert.ok(rows.length >= 40, `${rows.length} features`);
    const named = rows.flatMap((row) => [...row.matchAll(/`((?:site|pools\[\]|localVolumes|allowRancher)[^`]*)`/g)]);
    const paths = new Set(keys.map(({ path }) => path));
    assert.deepEqual(
      named.map(([, path = ""]) => `evergreen:${path}`).filter((path) => !paths.has(path)),
      [],
    );
    assert.ok(named.length > 30);
  });

  it("has every key, also those in lists and maps", () => {
    const paths = keys.map(({ path }) => path);
    const some = ["evergreen:cluster", "evergreen:pools[].strategy.surge", "evergreen:controlPlane.adopt[].uuid"];
    assert.deepEqual(
      [...some, "evergreen:backup.s3.bucket"].filter((path) => !paths.includes(path)),
      [],
    );
    const page = configurationPage();
    assert.deepEqual(
      paths.filter((path) => !page.includes(`\`${path}\``)),
      [],
    );
  });

  const needed: [what: string, isMissing: (key: Key) => boolean][] = [
    ["what it means", ({ description }) => !description],
    ["what a change of it does", (key) => !key.change && !isMap(key)],
    ["what applies when it is left out", ({ unset }) => !unset],
  ];
  for (const [what, isMissing] of needed) {
    it(`says of every key ${what}`, () =>
      assert.deepEqual(
        keys.filter(isMissing).map(({ path }) => path),
        [],
      ));
  }
});

describe("the arguments of a cluster", () => {
  const source = readFileSync(join(projectRoot, "components/cluster-args.ts"), "utf8");

  it("are of the types that the schema accepts", () => {
    const vmIds = { first: 5000, last: 5019 };
    const args: ClusterArgs = {
      cluster: "edge",
      site: { registrationAddress: "10.20.0.5", hosts: ["pve1"], storage: "ceph-vm", dnsServers: ["10.20.0.1"] },
      controlPlane: { image: "ubuntu-24.04-rke2-v1.1.0", vmIds, config: { profile: "cis", "kubelet-arg": ["v=2"] } },
      pools: [{ name: "workers", image: "ubuntu-24.04-rke2-v1.1.0", slots: 6, vmIds, strategy: { surge: "10%" } }],
      timeouts: { drainSeconds: 60 },
    };
    // Does not compile when a type is wider than that of the schema.
    const given: z.input<typeof schema> = args;
    assert.deepEqual(schema.safeParse(given).error, undefined);
  });

  it("are what `npm run docs` writes", () => {
    assert.ok(
      source === argumentsSource(),
      "components/cluster-args.ts is not that of src/config/schema.ts: npm run docs",
    );
  });

  it("tell of each key what it means, which values it has, its default, and what a change does", () => {
    const surge = source.slice(source.indexOf("interface ClusterStrategyArgs"), source.indexOf("surge?: "));
    for (const words of [
      "Number of VMs above",
      "Values: whole number, or a percentage",
      "A change of it: In place.",
      "@default 1",
    ])
      assert.ok(surge.includes(words), words);
    assert.match(source, /^ {2}surge\?: number \| string;$/m);
    assert.match(source, /^ {2}image: string;$/m);
  });

  it("have one interface for each name: two maps of one key that differ are refused", () => {
    const map = (key: string) => ({ type: "object", properties: { [key]: { type: "string" } } });
    const properties = { a: { properties: { same: map("one") } }, b: { properties: { same: map("two") } } };
    assert.throws(() => argumentsSource({ ...configurationShape(), properties }), /two kinds of ClusterSameArgs/);
  });
});
