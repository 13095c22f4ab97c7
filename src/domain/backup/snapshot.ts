/**
 * Whether an etcd snapshot is good enough to begin replacing servers. Snapshots that were empty, truncated or encrypted
 * under a lost token were noticed only at the restore, when it was too late (rke2#6281, rancher#43539, rancher#56469).
 * So everything that can be checked is checked before the first server leaves.
 */

/** The location of a snapshot's bucket and the requirements for it. It contains no secrets. */
export interface BucketPolicy {
  /** `https://host` or `https://host:port`. */
  endpoint: string;
  region: string;
  bucket: string;
  /** Prefix of object names, without slashes at its ends; empty: none. */
  prefix: string;
  /** True for `https://endpoint/bucket/...` instead of `https://bucket.endpoint/...`. */
  pathStyle: boolean;
  /** The encryption that the bucket must report for an object; `none`: it is not checked. */
  encryption: "none" | "AES256" | "aws:kms";
  /** Whether the whole object is read and its content compared with the checksum in it. */
  checkContent: boolean;
  /** Days for which an object must be locked, counted from the snapshot's creation; undefined: it is not checked. */
  retentionDays?: number;
}

/** The requirements for a snapshot. */
export interface BackupPolicy {
  /** Smallest size, in bytes. */
  leastBytes: number;
  /** Greatest age, in seconds. */
  mostSeconds: number;
  /** Undefined: a snapshot on the server's own disk is enough. */
  s3?: BucketPolicy;
}

/** A snapshot as RKE2 publishes it (ETCDSnapshotFile): one for the server's disk, and one for the bucket. */
export interface SnapshotFile {
  name: string;
  /** The server that made it. */
  node: string;
  /** `file://...` or `s3://...` */
  location: string;
  /** Whether it is in a bucket; otherwise it is on the server's disk. */
  uploaded: boolean;
  ready: boolean;
  /** In bytes; undefined when RKE2 states no size or an invalid one. */
  bytes: number | undefined;
  /** ISO 8601. */
  created: string | undefined;
  error: string | undefined;
  /** First digits of the SHA-256 of the server token that the snapshot is encrypted under. */
  tokenHash: string | undefined;
}

/** What the bucket reports about the object in reply to a HEAD request. */
export interface StoredObject {
  bytes: number | undefined;
  etag: string | undefined;
  /** `AES256`, `aws:kms`, `aws:kms:dsse`; undefined: none. */
  encryption: string | undefined;
  /** ISO 8601; undefined: it is not locked. */
  retainUntil: string | undefined;
  /** Metadata that RKE2 wrote on it: uid of the namespace kube-system. */
  clusterId: string | undefined;
  tokenHash: string | undefined;
}

/** The result of reading the object. etcd appends the SHA-256 of the database to the database. */
export interface ObjectContent {
  bytes: number;
  /** The checksum at its end, in hexadecimal digits. */
  claimed: string;
  /** The checksum of the content before that. */
  actual: string;
}

/** Everything that was found about one snapshot. */
export interface SnapshotFacts {
  local: SnapshotFile | undefined;
  uploaded: SnapshotFile | undefined;
  /** Undefined: the bucket has no such object. Checked only when RKE2 reports an upload. */
  stored: StoredObject | undefined;
  /** Read only when the policy asks for it. */
  content: ObjectContent | undefined;
}

/** What a snapshot is checked against. */
export interface SnapshotMeasure {
  policy: BackupPolicy;
  /** Uid of the namespace kube-system, by which RKE2 identifies a cluster. */
  clusterId: string;
  /** Hash of the cluster's server token, in the form of `SnapshotFile.tokenHash`. */
  tokenHash: string;
  /** The time of the API server's clock. */
  now: Date;
}

/** Accepted difference between two clocks, in seconds. */
const clockTolerance = 60;
const daySeconds = 86_400;

/**
 * The reasons, in words, why a snapshot does not meet the requirements; empty when it does. Unknown facts count as
 * missing.
 */
export function snapshotLacks(facts: SnapshotFacts, measure: SnapshotMeasure): string[] {
  const { local } = facts;
  if (local === undefined) return ["RKE2 published no snapshot"];
  const here = fileLacks(local, measure).map((lack) => `the snapshot ${lack}`);
  const { s3 } = measure.policy;
  return s3 === undefined ? here : [...here, ...uploadLacks(facts, local, s3, measure)];
}

function fileLacks(file: SnapshotFile, { policy, tokenHash, now }: SnapshotMeasure): string[] {
  if (file.error !== undefined) return [`failed: ${file.error}`];
  const lacks: string[] = [];
  if (!file.ready) lacks.push("is not ready to use");
  if (file.bytes === undefined) lacks.push("has no size");
  else if (file.bytes < policy.leastBytes)
    lacks.push(`has ${file.bytes} bytes and not the ${policy.leastBytes} that a cluster has at least`);
  lacks.push(...ageLacks(file.created, policy, now));
  if (file.tokenHash === undefined) lacks.push("does not say which server token it needs");
  else if (file.tokenHash !== tokenHash) lacks.push("needs another server token than the cluster's");
  return lacks;
}

function ageLacks(created: string | undefined, { mostSeconds }: BackupPolicy, now: Date): string[] {
  const made = Date.parse(created ?? "");
  if (Number.isNaN(made)) return ["does not say when it was made"];
  const age = Math.round((now.getTime() - made) / 1000);
  if (age < -clockTolerance) return [`was made ${-age} s from now: a clock is wrong`];
  return age > mostSeconds ? [`is ${age} s old, and ${mostSeconds} s is the most`] : [];
}

function uploadLacks(
  { uploaded, stored, content }: SnapshotFacts,
  local: SnapshotFile,
  s3: BucketPolicy,
  measure: SnapshotMeasure,
): string[] {
  if (uploaded === undefined) return ["RKE2 uploaded no snapshot"];
  const lacks = fileLacks(uploaded, measure).map((lack) => `the upload ${lack}`);
  const place = locationOf(s3, uploaded.name);
  if (uploaded.location !== place) lacks.push(`the upload is at ${uploaded.location} and not at ${place}`);
  if (uploaded.error !== undefined) return lacks;
  if (stored === undefined) return [...lacks, `the bucket ${s3.bucket} has no object ${keyOf(s3, uploaded.name)}`];
  const sizes: string[] = [];
  const claims = { "the server's file": local.bytes, "the upload": uploaded.bytes };
  for (const [who, bytes] of Object.entries(claims))
    if (stored.bytes === undefined || stored.bytes !== bytes)
      sizes.push(`the object has ${said(stored.bytes)} bytes, and ${who} has ${said(bytes)}`);
  return [
    ...lacks,
    ...sizes,
    ...objectLacks(stored, s3, measure),
    // An object of the wrong size has the wrong content anyway.
    ...(sizes.length > 0 ? [] : contentLacks(content, stored, s3)),
    ...lockLacks(stored, s3, uploaded.created),
  ];
}

function contentLacks(content: ObjectContent | undefined, stored: StoredObject, s3: BucketPolicy): string[] {
  if (!s3.checkContent) return [];
  if (content === undefined) return ["the object was not read"];
  if (content.bytes !== stored.bytes) return [`${content.bytes} bytes of the object could be read`];
  // An object that is too short to hold a checksum has an empty one.
  return content.claimed === content.actual && /^[0-9a-f]+$/.test(content.claimed)
    ? []
    : ["the object is spoilt: its content has not the checksum at its end"];
}

function objectLacks(stored: StoredObject, s3: BucketPolicy, { clusterId, tokenHash }: SnapshotMeasure): string[] {
  const lacks: string[] = [];
  if (stored.etag === undefined) lacks.push("the object has no ETag");
  if (stored.clusterId !== clusterId) lacks.push("the object does not say that it is of this cluster");
  if (stored.tokenHash !== tokenHash) lacks.push("the object does not say that it needs the cluster's server token");
  if (!isEncrypted(stored.encryption, s3.encryption))
    lacks.push(`the object is encrypted with ${stored.encryption ?? "nothing"} and not with ${s3.encryption}`);
  return lacks;
}

/** Problems of the object's lock. The bucket counts it from the upload, which is later than the snapshot's creation. */
function lockLacks({ retainUntil }: StoredObject, { retentionDays }: BucketPolicy, created = ""): string[] {
  if (retentionDays === undefined) return [];
  const wanted = Date.parse(created) + (retentionDays * daySeconds - clockTolerance) * 1000;
  if (retainUntil === undefined) return ["the object is not locked"];
  if (Date.parse(retainUntil) >= wanted) return [];
  return [`the object is locked until ${retainUntil}, which is not ${retentionDays} days`];
}

function isEncrypted(by: string | undefined, wanted: BucketPolicy["encryption"]): boolean {
  // aws:kms:dsse is aws:kms applied twice.
  return wanted === "none" || by === wanted || (wanted === "aws:kms" && by === "aws:kms:dsse");
}

function said(bytes: number | undefined): string {
  return bytes === undefined ? "an unknown number of" : String(bytes);
}

/** Name of a snapshot's object in its bucket. */
export function keyOf({ prefix }: Pick<BucketPolicy, "prefix">, name: string): string {
  return prefix === "" ? name : `${prefix}/${name}`;
}

function locationOf(s3: BucketPolicy, name: string): string {
  return `s3://${s3.bucket}/${keyOf(s3, name)}`;
}

/** Prefix of the snapshot names of a rollout: RKE2 appends the node and the time. */
export function snapshotPrefix(rollout: string): string {
  return `evergreen-${rollout}`;
}
