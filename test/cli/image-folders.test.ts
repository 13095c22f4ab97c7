import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { keepImageFolders } from "../../cli/image-folders.ts";

describe("the folders of images in an old commit", () => {
  let tree = "";
  beforeEach(async () => {
    tree = await mkdtemp(join(tmpdir(), "eg-"));
    await writeFile(join(tree, "Pulumi.yaml"), "name: evergreen");
  });
  afterEach(() => rm(tree, { recursive: true }));

  const cases: [string, unknown, unknown][] = [
    ["are those of today, by default too", { unsigned: "accept" }, { unsigned: "accept", records: "/today/records" }],
    ["are those of today, as the old commit names them", { records: "../store" }, { records: "/store" }],
    ["stay where their path is absolute", { records: "/srv/records" }, { records: "/srv/records" }],
    [
      "have the logs of bakes beside those of today",
      { records: "r", bakes: { range: 1 } },
      { records: "/today/r", bakes: { range: 1, evidence: "/today/bakes" } },
    ],
    ["are found in a text too", JSON.stringify({ records: "r" }), { records: "/today/r" }],
    ["are not made up where images are not configured", undefined, undefined],
  ];
  for (const [title, images, expected] of cases)
    it(title, async () => {
      const config = { "evergreen:cluster": "demo", ...(images === undefined ? {} : { "evergreen:images": images }) };
      await writeFile(join(tree, "Pulumi.prod.yaml"), JSON.stringify({ config }));
      await keepImageFolders(tree, "prod", "/today");
      const after = parse(await readFile(join(tree, "Pulumi.prod.yaml"), "utf8")) as {
        config: Record<string, unknown>;
      };
      assert.deepEqual(after.config["evergreen:images"], expected);
    });

  it("are none without a file of the stack", async () => {
    await keepImageFolders(tree, "other", "/today");
  });
});
