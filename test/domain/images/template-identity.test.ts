import assert from "node:assert/strict";
import fc from "fast-check";
import { identityDigest, identityOf, notedRecord, recordNote } from "../../../src/domain/images/template-identity.ts";

const plain: Record<string, string> = {
  name: "ubuntu-v1.2.0",
  cores: "1",
  smbios1: "uuid=5D2A0B0C-7D3F-4E67-9B57-1D1F6B5F9A01",
  scsi0: "local:9001/base-9001-disk-0.qcow2,size=10G",
  ide2: "local:9001/vm-9001-cloudinit.qcow2,media=cdrom",
  ide3: "none,media=cdrom",
  tags: "eg-image;rke2-v1.34.4+rke2r1",
  template: "1",
};
const read = (changes: Record<string, string> = {}) => identityOf(new Map(Object.entries({ ...plain, ...changes })));

describe("the identity of a template", () => {
  it("is what Proxmox shows of it", () => {
    const identity = read();
    assert.equal(identity?.name, "ubuntu-v1.2.0");
    assert.equal(identity.uuid, "5d2a0b0c-7d3f-4e67-9b57-1d1f6b5f9a01");
    assert.deepEqual(identity.volumes, [
      { id: "local:9001/vm-9001-cloudinit.qcow2" },
      { id: "local:9001/base-9001-disk-0.qcow2", size: "10G" },
    ]);
  });

  it("stays the same when its notes, which lead to the record, or a task's lock change", () => {
    const changes = { description: recordNote("a".repeat(64)), lock: "backup", digest: "0af1" };
    assert.deepEqual(read(changes), read());
  });

  const edits: Record<string, string>[] = [
    { cores: "2" },
    { tags: "eg-image;rke2-v1.35.0+rke2r1" },
    { hookscript: "local:snippets/x.pl" },
    { name: "other" },
    { scsi0: "local:9001/base-9001-disk-0.qcow2,size=10G,ssd=1" },
  ];
  for (const edit of edits)
    it(`is another one with ${JSON.stringify(edit)}`, () => {
      const [before, after] = [read(), read(edit)];
      assert.ok(before && after);
      assert.notEqual(identityDigest(after), identityDigest(before));
    });

  it("is not known without a uuid", () => assert.equal(read({ smbios1: "manufacturer=x" }), undefined));
});

describe("the note that leads to a record", () => {
  const digest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex"));

  it("is found among other lines", () => {
    fc.assert(
      fc.property(digest, fc.array(fc.string()), fc.array(fc.string()), (record, before, after) => {
        const notes = [...before, recordNote(record), ...after].join("\n");
        assert.equal(notedRecord(notes), record);
      }),
    );
  });

  it("is none where two contradict each other, or none is whole", () => {
    const [one, other] = [recordNote("a".repeat(64)), recordNote("b".repeat(64))];
    assert.equal(notedRecord(`${one}\n${other}`), undefined);
    assert.equal(notedRecord(`${one}\n${one}`), "a".repeat(64));
    for (const text of ["", one.slice(0, -1), `${one}0`, `x ${one}`]) assert.equal(notedRecord(text), undefined);
  });
});
