import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compareVersions, findImage, inspectImages } from "../../src/config/images.ts";
import { templateNameOf } from "../../src/domain/images/definition.ts";
import { refused } from "../support/config.ts";
import { exampleFolder } from "../support/image-folder.ts";

describe("the folder of all definitions", () => {
  let images: string;
  const add = (folder: string, edits: readonly (readonly [string, string])[] = []): void => {
    cpSync(exampleFolder, join(images, folder), { recursive: true });
    const file = join(images, folder, "image.yaml");
    writeFileSync(
      file,
      edits.reduce((text, [from, to]) => text.replace(from, to), readFileSync(file, "utf8")),
    );
  };
  const version = (to: string) => ["version: v1.0.0", `version: ${to}`] as const;
  beforeEach(() => (images = mkdtempSync(join(tmpdir(), "images-"))));
  afterEach(() => rmSync(images, { recursive: true }));

  const problemsIn = () => inspectImages(images).flatMap((one) => ("problems" in one ? one.problems : []));

  it("has definitions, and besides them the scripts of the bake and files", () => {
    mkdirSync(join(images, "bake"));
    writeFileSync(join(images, "contract.ts"), "");
    add("a");
    add("b-v1.1.0", [version("v1.1.0")]);
    assert.deepEqual(
      inspectImages(images).map((one) => ("definition" in one ? templateNameOf(one.definition) : one.problems)),
      ["a-v1.0.0", "b-v1.1.0"],
    );
  });

  it("refuses two definitions with one name and version that do not say the same, both of them", () => {
    add("a", [["diskGiB: 16", "diskGiB: 20"]]);
    add("a-v1.0.0");
    assert.deepEqual(
      problemsIn().map(({ what }) => what),
      ["a-v1.0.0 is defined twice, and not alike", "a-v1.0.0 is defined twice, and not alike"],
    );
  });

  it("refuses them for a byte of a file alone", () => {
    add("a");
    add("a-v1.0.0");
    assert.deepEqual(problemsIn(), []);
    writeFileSync(join(images, "a/tests/volumes"), "#!/bin/sh\ntrue\n");
    assert.equal(problemsIn().length, 2);
  });

  it("refuses a folder without a definition, and one behind a symbolic link", () => {
    mkdirSync(join(images, "empty"));
    symlinkSync(exampleFolder, join(images, "linked"));
    const problems = problemsIn();
    assert.match(problems[0]?.what ?? "", /the folder empty has no image\.yaml/);
    assert.match(problems[1]?.what ?? "", /symbolic link/);
  });

  it("finds a definition by name, template or folder, the newest without a version", () => {
    add("a");
    add("a-v1.9.0", [version("v1.9.0")]);
    add("a-v1.10.0", [version("v1.10.0")]);
    const all = inspectImages(images);
    for (const [wanted, found] of [
      ["a", "a-v1.10.0"],
      ["a-v1.0.0", "a-v1.0.0"],
      ["a-v1.9.0", "a-v1.9.0"],
    ] as const)
      assert.equal(templateNameOf(findImage(all, wanted).definition), found);
  });

  it("says which definitions there are, and what is wrong with the one that is meant", () => {
    add("abcd");
    add("other", [version("latest")]);
    const all = inspectImages(images);
    assert.throws(() => findImage(all, "abxd"), /did you mean abcd\?/);
    assert.throws(() => findImage(all, "something"), /abcd, abcd-v1\.0\.0, other/);
    assert.match(refused(() => findImage(all, "other"))[0]?.what ?? "", /"latest" is not possible/);
    assert.equal(findImage(all, "abcd").definition.name, "abcd");
  });

  it("is refused when it is not there", () => {
    assert.throws(() => inspectImages(join(images, "none")), /no folder with definitions[^]*--images/);
  });

  it("orders versions by their numbers", () => {
    const versions = ["v2.0.0", "v1.10.0", "v1.9.10", "v1.9.9", "v10.0.0"];
    assert.deepEqual(versions.toSorted(compareVersions), ["v1.9.9", "v1.9.10", "v1.10.0", "v2.0.0", "v10.0.0"]);
  });
});
