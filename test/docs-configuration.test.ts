import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { configurationKeys, configurationPage, type Key } from "../src/config/page.ts";
import { projectRoot } from "../src/runtime/project.ts";

const all = (keys: readonly Key[]): Key[] => keys.flatMap((key) => [key, ...all(key.keys)]);
const isMap = ({ keys }: Key) => keys.length > 0;

describe("the page of the configuration", () => {
  const keys = all(configurationKeys());

  it("is what `npm run docs` writes", () => {
    const page = readFileSync(join(projectRoot, "docs/configuration.md"), "utf8");
    assert.ok(page === configurationPage(), "docs/configuration.md is not that of src/config/schema.ts: npm run docs");
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
