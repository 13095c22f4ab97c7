import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv } from "ajv";
import { parse } from "yaml";
import { imageKeysPage, imageSchemaSource } from "../../src/config/image-page.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { exampleText, readAs } from "../support/image-folder.ts";

/** A part of the schema, as an editor sees it. */
interface Part {
  description?: string;
  properties?: Record<string, Part>;
}

const read = (file: string): string => readFileSync(join(projectRoot, file), "utf8");

const partsOf = (part: Part, path = ""): { path: string; part: Part }[] =>
  Object.entries(part.properties ?? {}).flatMap(([key, inner]) => [
    { path: `${path}${key}`, part: inner },
    ...partsOf(inner, `${path}${key}.`),
  ]);

describe("the schema of image.yaml for editors", () => {
  const source = imageSchemaSource();
  const validate = new Ajv({ allErrors: true }).compile(JSON.parse(source) as object);

  it("is what `npm run docs` writes, and so is the page of the keys", () => {
    assert.ok(read("docs/image.schema.json") === source, "docs/image.schema.json is another: npm run docs");
    assert.ok(read("docs/image-keys.md") === imageKeysPage(), "docs/image-keys.md is another: npm run docs");
  });

  it("says of every key what it means, and so does the page", () => {
    const parts = partsOf(JSON.parse(source) as Part);
    assert.ok(parts.length >= 20, `${parts.length} keys`);
    const page = imageKeysPage();
    for (const { path, part } of parts) {
      assert.match(part.description ?? "", /\w.*\.$/, path);
      assert.match(page, new RegExp(`^\\| \`${path}\` `, "m"), path);
    }
  });

  it("is named by the example, and takes it", () => {
    assert.ok(exampleText.startsWith("# yaml-language-server: $schema=../../docs/image.schema.json\n"));
    assert.ok(validate(parse(exampleText)), JSON.stringify(validate.errors));
  });

  it("refuses what the program refuses of single values", () => {
    const edits: [from: string, to: string][] = [
      ["packages:", "pakages:"],
      ["version: v1.0.0", "version: 1.0.0"],
      ["- nfs-common", "- NFS"],
      ["diskGiB: 16", "diskGiB: 1"],
      ["hardening: cis", "hardening: stig"],
      ["[iscsid.service]", "[iscsid]"],
      ["cni: [canal]", "cni: []"],
      ["20260901T000000Z", "2026-09-01"],
      ["D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81", "1A5D6C4C7DB87C81"],
    ];
    for (const [from, to] of edits) {
      const text = exampleText.replace(from, to);
      assert.ok("faults" in readAs(text), to);
      assert.equal(validate(parse(text)), false, to);
    }
  });
});
