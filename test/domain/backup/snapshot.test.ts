import assert from "node:assert/strict";
import fc from "fast-check";
import {
  snapshotLacks,
  type BackupPolicy,
  type BucketPolicy,
  type ObjectContent,
  type SnapshotFacts,
  type SnapshotFile,
  type StoredObject,
} from "../../../src/domain/backup/snapshot.ts";

const now = new Date("2026-05-04T12:00:00Z");
const name = "evergreen-0a1b2c-demo-servers-0-1777896000";
const s3: BucketPolicy = {
  endpoint: "https://s3.example.com",
  region: "eu-central-1",
  bucket: "backups",
  prefix: "demo/etcd",
  pathStyle: false,
  checkContent: true,
  encryption: "aws:kms",
  retentionDays: 30,
};
const local: SnapshotFile = {
  name,
  node: "demo-servers-0",
  location: `file:///var/lib/rancher/rke2/server/db/snapshots/${name}`,
  uploaded: false,
  ready: true,
  bytes: 5_000_000,
  created: "2026-05-04T11:59:00Z",
  error: undefined,
  tokenHash: "0123456789ab",
};
const uploaded: SnapshotFile = { ...local, location: `s3://backups/demo/etcd/${name}`, uploaded: true };
const stored: StoredObject = {
  bytes: 5_000_000,
  etag: '"d41d8cd98f00b204e9800998ecf8427e"',
  encryption: "aws:kms",
  retainUntil: "2026-06-03T11:59:02Z",
  clusterId: "c1",
  tokenHash: "0123456789ab",
};
const onDisk: BackupPolicy = { leastBytes: 1_000_000, mostSeconds: 3600 };
const inBucket: BackupPolicy = { ...onDisk, s3 };
const content: ObjectContent = { bytes: 5_000_000, claimed: "cafe", actual: "cafe" };
const good: SnapshotFacts = { local, uploaded, stored, content };

const lacks = (facts: Partial<SnapshotFacts>, policy: BackupPolicy) =>
  snapshotLacks({ ...good, ...facts }, { policy, clusterId: "c1", tokenHash: "0123456789ab", now });
const file = (change: Partial<SnapshotFile>) => ({ local: { ...local, ...change } });
const upload = (change: Partial<SnapshotFile>) => ({ uploaded: { ...uploaded, ...change } });
const object = (change: Partial<StoredObject>) => ({ stored: { ...stored, ...change } });

describe("a snapshot of etcd", () => {
  it("on a server's disk is enough when no bucket is configured", () => {
    assert.deepEqual(lacks({ uploaded: undefined, stored: undefined }, onDisk), []);
  });

  it("in a bucket is enough when everything agrees", () => {
    assert.deepEqual(lacks({}, inBucket), []);
  });

  const disk: [string, Partial<SnapshotFacts>, string[]][] = [
    ["there is none", { local: undefined }, ["RKE2 published no snapshot"]],
    ["RKE2 says that it failed", file({ error: "disk full", bytes: 0 }), ["the snapshot failed: disk full"]],
    ["it is not ready", file({ ready: false }), ["the snapshot is not ready to use"]],
    ["its size is unknown", file({ bytes: undefined }), ["the snapshot has no size"]],
    ["it is empty", file({ bytes: 0 }), ["the snapshot has 0 bytes and not the 1000000 that a cluster has at least"]],
    ["it is just large enough", file({ bytes: 1_000_000 }), []],
    [
      "it is just too small",
      file({ bytes: 999_999 }),
      ["the snapshot has 999999 bytes and not the 1000000 that a cluster has at least"],
    ],
    ["nobody knows its age", file({ created: undefined }), ["the snapshot does not say when it was made"]],
    ["its time is none", file({ created: "yesterday" }), ["the snapshot does not say when it was made"]],
    ["it is just young enough", file({ created: "2026-05-04T11:00:00Z" }), []],
    [
      "it is too old",
      file({ created: "2026-05-04T10:59:59Z" }),
      ["the snapshot is 3601 s old, and 3600 s is the most"],
    ],
    ["a clock is a little ahead", file({ created: "2026-05-04T12:00:59Z" }), []],
    [
      "a clock is wrong",
      file({ created: "2026-05-04T12:10:00Z" }),
      ["the snapshot was made 600 s from now: a clock is wrong"],
    ],
    ["its token is unknown", file({ tokenHash: undefined }), ["the snapshot does not say which server token it needs"]],
    [
      "its token is another one",
      file({ tokenHash: "ffffffffffff" }),
      ["the snapshot needs another server token than the cluster's"],
    ],
  ];
  for (const [what, facts, wanted] of disk) {
    it(`on a disk: ${what}`, () => {
      assert.deepEqual(lacks(facts, onDisk), wanted);
    });
  }

  const bucket: [string, Partial<SnapshotFacts>, string[]][] = [
    ["it was not uploaded", { uploaded: undefined }, ["RKE2 uploaded no snapshot"]],
    [
      "the upload failed",
      { ...upload({ error: "access denied" }), stored: undefined },
      ["the upload failed: access denied"],
    ],
    ["the upload is not ready", upload({ ready: false }), ["the upload is not ready to use"]],
    [
      "it went into another bucket",
      upload({ location: `s3://others/demo/etcd/${name}` }),
      [`the upload is at s3://others/demo/etcd/${name} and not at s3://backups/demo/etcd/${name}`],
    ],
    ["the bucket does not have it", { stored: undefined }, [`the bucket backups has no object demo/etcd/${name}`]],
    [
      "the object was cut",
      object({ bytes: 4_999_999 }),
      [
        "the object has 4999999 bytes, and the server's file has 5000000",
        "the object has 4999999 bytes, and the upload has 5000000",
      ],
    ],
    [
      "the upload was cut, and RKE2 says so",
      { ...upload({ bytes: 4_000_000 }), ...object({ bytes: 4_000_000 }) },
      ["the object has 4000000 bytes, and the server's file has 5000000"],
    ],
    [
      "no size is known at all",
      { ...file({ bytes: undefined }), ...upload({ bytes: undefined }), ...object({ bytes: undefined }) },
      [
        "the snapshot has no size",
        "the upload has no size",
        "the object has an unknown number of bytes, and the server's file has an unknown number of",
        "the object has an unknown number of bytes, and the upload has an unknown number of",
      ],
    ],
    ["it has no ETag", object({ etag: undefined }), ["the object has no ETag"]],
    ["it is of another cluster", object({ clusterId: "c2" }), ["the object does not say that it is of this cluster"]],
    [
      "it says nothing about itself",
      object({ clusterId: undefined, tokenHash: undefined }),
      [
        "the object does not say that it is of this cluster",
        "the object does not say that it needs the cluster's server token",
      ],
    ],
    [
      "it is not encrypted",
      object({ encryption: undefined }),
      ["the object is encrypted with nothing and not with aws:kms"],
    ],
    [
      "it is encrypted with another key",
      object({ encryption: "AES256" }),
      ["the object is encrypted with AES256 and not with aws:kms"],
    ],
    ["it is encrypted twice", object({ encryption: "aws:kms:dsse" }), []],
    ["it was not read", { content: undefined }, ["the object was not read"]],
    ["it broke off", { content: { ...content, bytes: 7 } }, ["7 bytes of the object could be read"]],
    [
      "it is spoilt",
      { content: { ...content, actual: "f00d" } },
      ["the object is spoilt: its content has not the checksum at its end"],
    ],
    [
      "it is too short for a checksum",
      { content: { ...content, claimed: "", actual: "" } },
      ["the object is spoilt: its content has not the checksum at its end"],
    ],
    ["it is not locked", object({ retainUntil: undefined }), ["the object is not locked"]],
    [
      "its lock is no time",
      object({ retainUntil: "for ever" }),
      ["the object is locked until for ever, which is not 30 days"],
    ],
    [
      "its lock is too short",
      object({ retainUntil: "2026-06-03T11:57:59Z" }),
      ["the object is locked until 2026-06-03T11:57:59Z, which is not 30 days"],
    ],
    ["its lock is longer", object({ retainUntil: "2027-01-01T00:00:00Z" }), []],
  ];
  for (const [what, facts, wanted] of bucket) {
    it(`in a bucket: ${what}`, () => {
      assert.deepEqual(lacks(facts, inBucket), wanted);
    });
  }

  it("needs neither encryption nor a lock nor a reading when none is configured", () => {
    const plain = { ...onDisk, s3: { ...s3, encryption: "none" as const, checkContent: false, prefix: "" } };
    Reflect.deleteProperty(plain.s3, "retentionDays");
    const facts = {
      content: undefined,
      ...upload({ location: `s3://backups/${name}` }),
      ...object({ encryption: undefined }),
    };
    assert.deepEqual(lacks(facts, plain), []);
    assert.deepEqual(lacks({ ...facts, ...object({ encryption: "AES256", retainUntil: undefined }) }, plain), []);
  });

  it("is proved by nothing less than every fact", () => {
    const unasked = ["name", "node", "uploaded", "error"];
    const holes = Object.entries(good).flatMap(([part, facts]: [string, object]) =>
      Object.keys(facts).flatMap((key) => (unasked.includes(key) ? [] : [{ part, key }])),
    );
    // Where RKE2 keeps it on its own disk is its own business.
    const asked = holes.filter(({ part, key }) => part !== "local" || key !== "location");
    fc.assert(
      fc.property(fc.subarray(asked, { minLength: 1 }), (some) => {
        const facts: Record<string, object | undefined> = { ...good };
        for (const { part, key } of some) facts[part] = { ...facts[part], [key]: undefined };
        assert.notDeepEqual(lacks(facts, inBucket), []);
      }),
    );
  });
});
