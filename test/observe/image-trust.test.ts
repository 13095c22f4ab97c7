import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspectImages } from "../../src/config/images.ts";
import { normalized } from "../../src/domain/images/definition.ts";
import { identityOf, recordNote } from "../../src/domain/images/template-identity.ts";
import { writeProof, writeRecord } from "../../src/evidence/image-records.ts";
import { signStatement } from "../../src/evidence/bundle.ts";
import { UserErrors } from "../../src/runtime/errors.ts";
import { requireTrust, type TrustQuestion } from "../../src/observe/image-trust.ts";
import { keyPair, proofOf, recordOf, statementsOf, subjectWith } from "../evidence/image.ts";
import { exampleFolder } from "../support/image-folder.ts";
import { NEW } from "../support/picture.ts";

const key = keyPair();
const trusted = { name: "site", publicKey: key.publicKey, from: "2026-01-01T00:00:00Z" };
const shown = {
  name: NEW,
  smbios1: "uuid=5d2a0b0c-7d3f-4e67-9b57-1d1f6b5f9a01",
  scsi0: "local:9001/base-9001-disk-0.qcow2,size=10G",
  cores: "2",
};
type Changes = Partial<TrustQuestion["images"]> & { shown?: object };

describe("the records of the templates that a run clones", () => {
  let project: string;
  let digest: string;
  const inProject = (...path: string[]) => join(project, ...path);
  beforeEach(async () => {
    project = mkdtempSync(join(tmpdir(), "trust-"));
    digest = await writeRecord(inProject("records"), await recordOf(subject(), key.signing));
  });
  afterEach(() => rmSync(project, { recursive: true }));

  const subject = () => {
    const identity = identityOf(new Map(Object.entries(shown)));
    assert.ok(identity);
    return { ...subjectWith(), templates: [identity] };
  };
  const clone = (image = NEW) => {
    const spec = { image, rke2: "v1.34.5+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 40 };
    return { spec, template: { vmid: 9001, host: "pve1" } };
  };
  const check = async ({ shown: changed = {}, ...images }: Changes = {}, image = NEW) => {
    const options = { ...shown, description: `by hand\n${recordNote(digest)}`, ...changed };
    const asked = { records: "records", definitions: "images", keys: [trusted], unsigned: "refuse" as const };
    await requireTrust([clone(image), clone(image)], {
      images: { ...asked, ...images },
      project,
      options: new Map([[9001, new Map(Object.entries(options))]]),
      now: new Date("2026-08-10T12:00:00Z"),
    });
  };

  it("let a run clone what is as it was recorded", async () => {
    await check();
    await check({ records: inProject("records") }, NEW);
  });

  it("are not looked for when nothing is cloned", async () => {
    const images = { records: "gone", definitions: "gone", keys: [], unsigned: "refuse" as const };
    await requireTrust([], { images, project, options: new Map(), now: new Date() });
  });

  const refused: [string, Changes, RegExp][] = [
    ["whose notes name no record", { shown: { description: "by hand" } }, /has no record[^]*GoldenImage/],
    ["whose notes name another record", { shown: { description: recordNote("f".repeat(64)) } }, /not in the store/],
    ["that was edited", { shown: { cores: "4" } }, /was edited[^]*template \S+, VM 9001 on pve1/],
    ["that was renamed", { shown: { name: "x" } }, /renamed/],
    ["whose disk is another", { shown: { scsi0: "local:9001/vm-9001-disk-1.qcow2,size=10G" } }, /volumes/],
    ["that is a copy", { shown: { smbios1: "uuid=5d2a0b0c-7d3f-4e67-9b57-1d1f6b5f9a02" } }, /is not the template/],
    ["without a uuid", { shown: { smbios1: "base64=1" } }, /no SMBIOS uuid/],
    ["when no key is trusted", { keys: [] }, /key that is not trusted/],
    ["when its key was retired", { keys: [{ ...trusted, until: "2026-07-01T00:00:00Z" }] }, /was not valid/],
    ["in another store", { records: "elsewhere" }, /not in the store/],
    ["that no stack has run", { proof: { stacks: ["evergreen/dev"], days: 7 } }, /no stack evergreen\/dev has proved/],
  ];
  for (const [title, changes, says] of refused)
    it(`refuse a template ${title}, and once for all its clones`, async () => {
      await assert.rejects(check(changes), (error: Error) => {
        assert.match(error.message, says);
        assert.ok(error instanceof UserErrors);
        const told = error.problems.map(({ what }) => what);
        assert.equal(new Set(told).size, told.length, told.join("; "));
        return true;
      });
    });

  it("refuse one whose statements bear no signature, unless the configuration accepts it", async () => {
    const { provenance, sbom, tests } = statementsOf(subject());
    const [one, two, three] = [provenance, sbom, tests].map((statement) => JSON.stringify(statement));
    const record = { provenance: one ?? "", sbom: two ?? "", tests: three ?? "" };
    const description = recordNote(await writeRecord(inProject("records"), record));
    await assert.rejects(check({ shown: { description } }), /bears no signature/);
    await check({ shown: { description }, unsigned: "accept" });
  });

  it("let a run clone what the stack of the configuration has run for long enough", async () => {
    const word = await signStatement(proofOf({}, subject()), key.signing);
    await writeProof(inProject("records"), subject().definition, word);
    await check({ proof: { stacks: ["evergreen/dev"], days: 7 } });
    await assert.rejects(check({ proof: { stacks: ["evergreen/dev"], days: 30 } }), /less than 30 days/);
  });

  describe("of an image that the repository defines", () => {
    const image = "ubuntu-24-04-rke2-v1.0.0";
    const named = { shown: { name: image } };
    beforeEach(async () => {
      mkdirSync(inProject("images"));
      cpSync(exampleFolder, inProject("images", "ubuntu-24-04-rke2"), { recursive: true });
      const [own] = inspectImages(inProject("images"));
      assert.ok(own && "definition" in own);
      const identity = identityOf(new Map(Object.entries({ ...shown, name: image })));
      assert.ok(identity);
      const about = { ...subject(), templates: [identity], name: "ubuntu-24-04-rke2", version: "v1.0.0" };
      const { provenance, sbom, tests } = statementsOf(about);
      const { buildDefinition } = provenance.predicate;
      const from = { ...buildDefinition, externalParameters: { definition: normalized(own.definition) } };
      const made = { ...provenance, predicate: { ...provenance.predicate, buildDefinition: from } };
      digest = await writeRecord(inProject("records"), {
        provenance: await signStatement(made, key.signing),
        sbom: await signStatement(sbom, key.signing),
        tests: await signStatement(tests, key.signing),
      });
    });
    const edit = (from: RegExp, to: string) => {
      const file = inProject("images", "ubuntu-24-04-rke2", "image.yaml");
      const text = readFileSync(file, "utf8");
      assert.match(text, from);
      writeFileSync(file, text.replace(from, to));
    };

    it("let a run clone what was baked from that definition", async () => {
      await check(named, image);
      edit(/^/, "# a comment is no part of an image\n");
      await check(named, image);
    });

    it("refuse what was baked from another one", async () => {
      edit(/packages:/, "packages:\n  - jq");
      await assert.rejects(
        check(named, image),
        /another definition than the repository has as ubuntu-24-04-rke2 v1\.0\.0/,
      );
    });

    it("refuse it while the definition has faults, and not for those of other definitions", async () => {
      cpSync(inProject("images", "ubuntu-24-04-rke2"), inProject("images", "storage-v2.0.0"), { recursive: true });
      await check(named, image);
      edit(/packages:/, "packagez:");
      await assert.rejects(check(named, image), /packagez/);
    });
  });
});
