import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { signStatement, writeUnsigned } from "../../src/evidence/bundle.ts";
import { listRecords, readRecord, recordDigest, writeProof, writeRecord } from "../../src/evidence/image-records.ts";
import {
  contents,
  keyPair,
  manyPackages,
  proofOf,
  sha,
  signedRecord,
  statementsOf,
  subjectWith,
  template,
} from "./image.ts";

describe("the store of records", () => {
  const { signing, trusted } = keyPair();
  const keys = [trusted];
  let root = "";
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "evergreen-records-"));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  const file = (digest: string, name: string) => join(root, "records", digest, name);

  it("gives back what was written, with what its statements say", async () => {
    const digest = await writeRecord(root, await signedRecord(signing));
    await writeProof(root, sha("d"), await signStatement(proofOf(), signing));
    const found = await readRecord(root, digest, keys);
    assert.ok(found?.provenance.kind === "signed" && found.sbom.kind === "signed" && found.tests.kind === "signed");
    assert.deepEqual(found.provenance.statement.subject.templates, [template]);
    assert.equal(found.provenance.statement.stack, "evergreen/dev");
    assert.equal(found.sbom.statement.contents.packages.length, contents.packages.length);
    assert.equal(found.tests.statement.isPassed, true);
    const [proof, ...others] = found.proofs;
    assert.ok(proof?.kind === "signed" && others.length === 0);
    assert.deepEqual([proof.statement.stack, proof.statement.since], ["evergreen/dev", "2026-08-02T08:00:00Z"]);
    assert.deepEqual(await listRecords(root), [digest]);
  });

  it("writes nothing twice, and leaves nothing behind", async () => {
    const texts = await signedRecord(signing);
    const written = await Promise.all([writeRecord(root, texts), writeRecord(root, texts), writeRecord(root, texts)]);
    const proof = await signStatement(proofOf(), signing);
    await Promise.all([writeProof(root, sha("d"), proof), writeProof(root, sha("d"), proof)]);
    assert.deepEqual(new Set(written), new Set([recordDigest(texts)]));
    assert.deepEqual(await readdir(join(root, "tmp")), []);
    assert.equal((await readdir(join(root, "proofs", sha("d")))).length, 1);
  });

  it("has no record that was not written whole", async () => {
    const texts = await signedRecord(signing);
    const whole = join(root, "tmp", "killed");
    await mkdir(whole, { recursive: true });
    await writeFile(join(whole, "provenance.json"), texts.provenance);
    assert.equal(await readRecord(root, recordDigest(texts), keys), undefined);
    assert.deepEqual(await listRecords(root), []);
  });

  it("says of a record without a signature that it has none", async () => {
    const { provenance, sbom, tests } = statementsOf(subjectWith());
    const texts = {
      provenance: writeUnsigned(provenance),
      sbom: writeUnsigned(sbom),
      tests: writeUnsigned(tests),
    };
    const found = await readRecord(root, await writeRecord(root, texts), keys);
    assert.deepEqual(
      [found?.provenance.kind, found?.sbom.kind, found?.tests.kind],
      ["unsigned", "unsigned", "unsigned"],
    );
  });

  const broken: [string, (digest: string) => Promise<void>, RegExp][] = [
    [
      "a byte that was changed",
      async (digest) => {
        const text = await readFile(file(digest, "tests.json"), "utf8");
        await writeFile(file(digest, "tests.json"), text.replace("v0.3", "v0.2"));
      },
      /a record has another content than its name says[^]*records\//,
    ],
    ["a file that is gone", (digest) => rm(file(digest, "sbom.json")), /cannot be read: ENOENT[^]*sbom\.json/],
    [
      "a folder in place of a file",
      async (digest) => {
        await rm(file(digest, "sbom.json"));
        await mkdir(file(digest, "sbom.json"));
      },
      /cannot be read: EISDIR[^]*sbom\.json/,
    ],
    [
      "a file of somebody else",
      (digest) => writeFile(file(digest, "notes.txt"), "mine"),
      /has a file or folder that is not of a record[^]*notes\.txt/,
    ],
    [
      "a summary under another name",
      async () => {
        await mkdir(join(root, "proofs", sha("d")), { recursive: true });
        await writeFile(join(root, "proofs", sha("d"), `${sha("0")}.json`), writeUnsigned(proofOf()));
      },
      /another content than its name says[^]*proofs/,
    ],
    [
      "a record in place of its folder",
      async (digest) => {
        await rm(join(root, "records", digest), { recursive: true });
        await writeFile(join(root, "records", digest), "");
      },
      /cannot be read: ENOTDIR/,
    ],
  ];
  for (const [name, damage, message] of broken)
    it(`refuses ${name} by its path, and never takes it for missing`, async () => {
      const digest = await writeRecord(root, await signedRecord(signing));
      await damage(digest);
      await assert.rejects(readRecord(root, digest, keys), message);
    });

  it("refuses statements of two records put together, though each is signed", async () => {
    const [one, other] = [await signedRecord(signing), await signedRecord(signing, manyPackages(3))];
    const mixed = await writeRecord(root, { ...one, sbom: other.sbom });
    await assert.rejects(readRecord(root, mixed, keys), /not all of one image/);
  });

  it("refuses an SBOM that lists something else than its subject says", async () => {
    const { provenance, tests } = statementsOf(subjectWith());
    const { sbom } = statementsOf(subjectWith(), manyPackages(2));
    const texts = {
      provenance: await signStatement(provenance, signing),
      sbom: await signStatement(sbom, signing),
      tests: await signStatement(tests, signing),
    };
    await assert.rejects(readRecord(root, await writeRecord(root, texts), keys), /not all of one image/);
  });

  it("refuses a statement of another kind in a place of a record", async () => {
    const texts = await signedRecord(signing);
    const digest = await writeRecord(root, { ...texts, tests: texts.provenance });
    await assert.rejects(readRecord(root, digest, keys), /is not the tests of an image[^]*tests\.json/);
  });

  it("names what does not belong among the records", async () => {
    await writeRecord(root, await signedRecord(signing));
    await rename(join(root, "tmp"), join(root, "records", "old"));
    await assert.rejects(listRecords(root), /not of a record[^]*records\/old/);
  });

  it("that cannot be written says so, and where", async () => {
    await writeFile(join(root, "file"), "");
    await assert.rejects(
      writeRecord(join(root, "file"), await signedRecord(signing)),
      /cannot be (written|read)[^]*file/,
    );
    await chmod(root, 0o700);
  });

  it("signs, writes, reads and checks a record of 2,000 packages within a blink", async () => {
    const large = manyPackages(2000);
    statementsOf(subjectWith(large), large);
    const begin = performance.now();
    const texts = await signedRecord(signing, large);
    const signed = performance.now();
    const digest = await writeRecord(root, texts);
    const written = performance.now();
    const found = await readRecord(root, digest, keys);
    const read = performance.now();
    assert.ok(found?.sbom.kind === "signed");
    assert.equal(found.sbom.statement.contents.packages.length, 2000);
    const ms = (from: number, to: number) => (to - from).toFixed(0);
    console.log(
      `      2,000 packages: signed ${ms(begin, signed)} ms, written ${ms(signed, written)} ms, read and verified ${ms(written, read)} ms; ${((read - begin) / 100).toFixed(2)} of the bound of 100 ms`,
    );
  });
});
