import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Ajv } from "ajv";
import fc from "fast-check";
import { contentsDigest, orderedContents } from "../../src/domain/images/contents.ts";
import { contentsOf, sbomOf, sbomSchema } from "../../src/evidence/sbom.ts";
import { BAKED, contents, manyPackages } from "./image.ts";

const subject = {
  name: "ubuntu",
  version: "v1.2.0",
  distribution: { vendor: "ubuntu", codename: "noble" },
  at: BAKED,
};
const schemas = join(
  dirname(createRequire(import.meta.url).resolve("@cyclonedx/cyclonedx-library/package.json")),
  "res/schema",
);
const schema = (name: string) =>
  JSON.parse(readFileSync(join(schemas, `${name}.SNAPSHOT.schema.json`), "utf8")) as object;

describe("the SBOM of an image", () => {
  it("keeps to the schema of CycloneDX 1.6", () => {
    const ajv = new Ajv({ strict: false, validateFormats: false });
    for (const name of ["spdx", "jsf-0.82"])
      ajv.addSchema(schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
    const isValid = ajv.compile(schema("bom-1.6"));
    assert.ok(isValid(sbomOf(subject, manyPackages(20))), JSON.stringify(isValid.errors));
    assert.ok(!isValid({ ...sbomOf(subject, contents), specVersion: 7 }), "the schema refuses something");
  });

  it("has the same bytes in whatever order the guest lists what it holds", () => {
    const text = JSON.stringify(sbomOf(subject, contents));
    const shuffled = <T>(list: readonly T[]) => fc.shuffledSubarray([...list], { minLength: list.length });
    fc.assert(
      fc.property(shuffled(contents.packages), shuffled(manyPackages(9).packages), (packages, many) => {
        assert.equal(JSON.stringify(sbomOf(subject, { ...contents, packages })), text);
        const ordered = sbomOf(subject, manyPackages(9));
        assert.equal(JSON.stringify(sbomOf(subject, { ...contents, packages: many })), JSON.stringify(ordered));
      }),
    );
  });

  it("gives each component a reference of its own", () => {
    const { components } = sbomOf(subject, contents) as { components: { "bom-ref": string }[] };
    const references = components.map((one) => one["bom-ref"]);
    assert.equal(new Set(references).size, 5);
    assert.ok(references.includes("deb:libstdc++6:amd64"));
  });

  it("names packages by their URLs, with the characters of Debian's names and versions encoded", () => {
    const { components } = sbomOf(subject, contents) as { components: { purl?: string }[] };
    const urls = components.map(({ purl }) => purl);
    assert.ok(urls.includes("pkg:deb/ubuntu/libstdc%2B%2B6@14.2.0-4ubuntu2~24.04?arch=amd64&distro=noble"));
    assert.ok(urls.includes("pkg:deb/ubuntu/openssh-client@1:9.6p1-3ubuntu13.3?arch=amd64&distro=noble"));
  });

  it("is read back to what was measured", () => {
    const text = JSON.stringify(sbomOf(subject, contents));
    const read = contentsOf(sbomSchema.parse(JSON.parse(text)));
    assert.deepEqual(read, orderedContents(contents));
    assert.equal(contentsDigest(read), contentsDigest(contents));
  });

  it("of an image that holds something else has another digest", () => {
    const [first, ...rest] = contents.packages;
    assert.ok(first);
    const other = { ...contents, packages: [{ ...first, version: "3.0.13-0ubuntu3.6" }, ...rest] };
    assert.notEqual(contentsDigest(other), contentsDigest(contents));
  });
});
