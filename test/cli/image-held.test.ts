import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readHeld } from "../../cli/image/held.ts";
import { diffContents } from "../../src/domain/images/contents-diff.ts";
import { contentsDigest, type ImageContents } from "../../src/domain/images/contents.ts";
import { writeUnsigned } from "../../src/evidence/bundle.ts";
import { writeRecord } from "../../src/evidence/image-records.ts";
import {
  contents,
  definition,
  keyPair,
  manyPackages,
  signedRecord,
  statementsOf,
  subjectWith,
} from "../evidence/image.ts";

describe("what an image holds", () => {
  const key = keyPair();
  let root = "";
  let trust: string[] = [];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "evergreen-held-"));
    trust = [join(root, "site.pub")];
    writeFileSync(join(root, "site.pub"), key.publicKey);
  });
  afterEach(() => rmSync(root, { recursive: true }));
  const store = () => join(root, "records");
  const held = (): Promise<ImageContents> => readHeld({ records: store(), trust }, definition);

  it("is what its record says, and can be compared", async () => {
    await writeRecord(store(), await signedRecord(key.signing));
    const found = await held();
    assert.equal(contentsDigest(found), contentsDigest(contents));
    assert.equal(diffContents(found, manyPackages(2)).packages.length, 5);
  });

  it("is not what a record says that nobody signed, or somebody else", async () => {
    const refused = /no record of ubuntu-v1\.2\.0 is signed with a key that was given[^]*1 records, 0 of them/;
    await writeRecord(store(), await signedRecord(keyPair("other").signing));
    await assert.rejects(held(), refused);
    rmSync(store(), { recursive: true });
    const { provenance, sbom, tests } = statementsOf(subjectWith());
    await writeRecord(store(), {
      provenance: writeUnsigned(provenance),
      sbom: writeUnsigned(sbom),
      tests: writeUnsigned(tests),
    });
    await assert.rejects(held(), refused);
    await assert.rejects(
      readHeld({ records: store(), trust }, { ...definition, version: "v9.0.0" }),
      /no record of ubuntu-v9\.0\.0/,
    );
  });

  it("needs keys that can be read", async () => {
    trust = [join(root, "gone.pub")];
    await assert.rejects(held(), /file with the key cannot be read: ENOENT/);
    writeFileSync(join(root, "gone.pub"), key.privateKey.replace("PRIVATE", "SECRET"));
    await assert.rejects(held(), /public key of records is not an Ed25519 key/);
  });
});
