import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import { readClusterUid } from "../../clients/kubernetes/cluster-uid.ts";
import { isNotFound } from "../../clients/kubernetes/errors.ts";
import { readServerToken, tokenHash, type ServerToken } from "../../clients/kubernetes/server-token.ts";
import { snapshotFile, snapshotsPath, type SnapshotObject } from "../../clients/kubernetes/snapshots.ts";
import { saveSnapshot, type SaveRequest } from "../../clients/kubernetes/supervisor.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { waitUntil } from "../../clients/kubernetes/watch.ts";
import { snapshotLacks, snapshotPrefix, type SnapshotFacts, type SnapshotFile } from "../../domain/backup/snapshot.ts";
import { bucketCredentials, headSnapshot, readSnapshot, type BucketCredentials } from "../../clients/s3/bucket.ts";
import { passesTwoVoters } from "../../domain/rollout/servers.ts";
import type { SnapshotInput } from "../input.ts";
import { isAnyNodeLeaving } from "../node/departing-nodes.ts";
import type { StepContext } from "../context.ts";
import { connect } from "../cluster/connect.ts";

/**
 * What is known of the snapshot that a rollout of servers begins with; empty when no server is to be decommissioned, and none joins the only one.
 */
export interface SnapshotEvidence {
  snapshot?: string;
  /** Server that has the snapshot on its disk. */
  node?: string;
  /** Its location farthest from the cluster: the bucket, if there is one. */
  location?: string;
  bytes?: number;
  /** ISO 8601. */
  created?: string;
  /** ETag of the object, as the bucket says. */
  etag?: string;
  /** SHA-256 of the database in the object, read back from the bucket. */
  sha256?: string;
  encryption?: string;
  retainUntil?: string;
}

interface Work {
  context: StepContext;
  input: SnapshotInput;
  access: Access;
  token: ServerToken;
  credentials: BucketCredentials | undefined;
  /** Uid of the namespace kube-system. */
  clusterId: string;
}

/** Longest wait for the bucket's answer, in seconds, with all tries. */
const lookSeconds = 60;

/**
 * Runs before the first server is decommissioned, or a second one joins the only one: makes an etcd snapshot and proves it, or finds one that an earlier
 * try of the same rollout has proved.
 * @throws UserError that begins with RequiresAttention when any proof is missing; nothing has been changed then
 */
export async function snapshot(
  context: StepContext,
  input: SnapshotInput,
  environment: Record<string, string | undefined>,
): Promise<SnapshotEvidence> {
  const credentials = input.backup.s3 && bucketCredentials(environment);
  const { access } = await connect(context, input);
  if (access === undefined) {
    say("there is no cluster yet, and so nothing to save");
    return {};
  }
  const record = await readPoolRecord(access.client, input.pool);
  if (!isAnyNodeLeaving(input, record) && !passesTwoVoters(input.plan.slots, record.nodes)) return {};
  const token = await readServerToken(context.pve, access.server);
  const clusterId = await readClusterUid(access.client);
  const work = { context, input, access, token, credentials, clusterId };
  const before = await listPublished(work);
  return (await findProvedBefore(work, before)) ?? (await proveNew(work, before));
}

/** The newest snapshot of this rollout that passes all checks, if there is one. */
async function findProvedBefore(work: Work, objects: readonly SnapshotObject[]): Promise<SnapshotEvidence | undefined> {
  const files = objects.map(snapshotFile);
  const names = new Set(files.toSorted(byAge).map(({ name }) => name));
  for (const name of names) {
    const { facts, lacks } = await judge(work, factsOf(files, name));
    if (lacks.length > 0) continue;
    say(`the etcd snapshot ${name} of this rollout is proved already`);
    return evidence(facts);
  }
  return undefined;
}

async function proveNew(work: Work, before: readonly SnapshotObject[]): Promise<SnapshotEvidence> {
  const { input } = work;
  const { facts, lacks } = await judge(work, await makeSnapshot(work, before));
  if (lacks.length > 0) throw attention(input, lacks);
  const { snapshot: name = "", node = "", ...rest } = evidence(facts);
  say(`the etcd snapshot ${name} is proved: ${rest.bytes ?? 0} bytes at ${rest.location ?? ""}`);
  if (input.backup.s3 === undefined)
    say(`it lies on ${node} alone, and goes when that server is replaced: evergreen:backup.s3 keeps it elsewhere`);
  return { snapshot: name, node, ...rest };
}

/**
 * Asks RKE2 for a snapshot and waits until it is published. At the deadline it returns what has been published by then.
 * A request that broke may have reached a server that was just restarting, and is made once more when nothing of it was
 * published in half the time: a second snapshot does no harm.
 */
async function makeSnapshot(work: Work, before: readonly SnapshotObject[]): Promise<SnapshotFacts> {
  const { context, input, access, token } = work;
  const seconds = input.site.timeouts.snapshot;
  const deadline = new Deadline("RKE2 to make an etcd snapshot", seconds, context.stop);
  const known = new Set(before.map(versionOf));
  const doubts: string[] = [];
  let seenFacts: SnapshotFacts = factsOf([], "");
  const ask = async () =>
    await saveSnapshot(access, input.site.registrationAddress, token, saveRequest(work), deadline);
  const published = async (until: Deadline): Promise<SnapshotFacts> =>
    await waitUntil<SnapshotObject, SnapshotFacts>(access.client, { path: snapshotsPath }, until, (seen) => {
      const fresh = [...seen.values()].filter((object) => isOurs(work, object) && !known.has(versionOf(object)));
      seenFacts = newest(fresh.map(snapshotFile));
      return isOver(seenFacts, input) ? seenFacts : undefined;
    });
  try {
    const outcome = await ask();
    if (outcome.kind === "refused") throw attention(input, [`RKE2 makes none: ${outcome.why}`]);
    if (outcome.kind === "unknown") {
      doubts.push(outcome.why);
      const half = new Deadline(deadline.what, Math.min(seconds / 2, deadline.left / 1000), context.stop);
      const early = await published(half).catch(unlessLate);
      if (early !== undefined) return early;
      if (seenFacts.local === undefined) {
        say(`RKE2 has published no snapshot: ${outcome.why}; it is asked once more`);
        // While the first one is being made RKE2 refuses another.
        const again = await ask();
        if (again.kind !== "done") doubts.push(again.why);
      }
    }
    return await published(deadline);
  } catch (error) {
    if (error instanceof DeadlineError && seenFacts.local !== undefined) return seenFacts;
    if (error instanceof DeadlineError) throw attention(input, [...doubts, error.problem.what, error.problem.where]);
    if (isNotFound(error))
      throw attention(input, ["this cluster's API has no etcdsnapshotfiles: is its etcd RKE2's own?"]);
    throw error;
  }
}

function unlessLate(error: unknown): undefined {
  if (!(error instanceof DeadlineError)) throw error;
  return undefined;
}

/** Whether the snapshot will not change any more: it is complete, or it has failed. */
function isOver({ local, uploaded }: SnapshotFacts, { backup }: SnapshotInput): boolean {
  const ended = (file: SnapshotFile | undefined) => file !== undefined && (file.ready || file.error !== undefined);
  if (!ended(local)) return false;
  return backup.s3 === undefined || local?.error !== undefined || ended(uploaded);
}

/** Checks a snapshot by all sources together, including the bucket itself. */
async function judge(work: Work, found: SnapshotFacts): Promise<{ facts: SnapshotFacts; lacks: string[] }> {
  const { context, input, access, token, credentials, clusterId } = work;
  const { s3 } = input.backup;
  const facts = { ...found };
  if (s3 && credentials && found.uploaded?.ready === true) {
    const { name } = found.uploaded;
    const deadline = new Deadline("the bucket to answer", lookSeconds, context.stop);
    const seen = await headSnapshot(s3, name, credentials, deadline).catch(tooLate);
    if (seen.kind === "failed") return { facts, lacks: [`the bucket ${s3.bucket} cannot be asked: ${seen.why}`] };
    if (seen.kind === "found") facts.stored = seen.object;
    if (seen.kind === "found" && s3.checkContent) {
      const patience = new Deadline("the object to be read", input.site.timeouts.snapshot, context.stop);
      const read = await readSnapshot(s3, name, credentials, patience).catch(tooLate);
      if (read.kind === "failed") return { facts, lacks: [`the object cannot be read: ${read.why}`] };
      facts.content = read.content;
    }
  }
  const measure = { policy: input.backup, clusterId, tokenHash: tokenHash(token), now: access.client.now() };
  return { facts, lacks: snapshotLacks(facts, measure) };
}

/** A bucket that does not answer in time counts as a bucket that cannot be asked. */
function tooLate(error: unknown): { kind: "failed"; why: string } {
  if (error instanceof DeadlineError) return { kind: "failed", why: error.problem.where };
  throw error;
}

/** The snapshots of this rollout that RKE2 has published; none when the cluster has no API for them. */
async function listPublished(work: Work): Promise<SnapshotObject[]> {
  try {
    const { items } = await work.access.client.list<SnapshotObject>(snapshotsPath);
    return items.filter((object) => isOurs(work, object));
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

function isOurs({ input }: Work, { spec }: SnapshotObject): boolean {
  return spec?.snapshotName?.startsWith(`${snapshotPrefix(input.rollout)}-`) === true;
}

function versionOf({ metadata }: SnapshotObject): string {
  return `${metadata?.uid ?? ""} ${metadata?.resourceVersion ?? ""}`;
}

function byAge(a: SnapshotFile, b: SnapshotFile): number {
  return Date.parse(b.created ?? "") - Date.parse(a.created ?? "");
}

function newest(files: readonly SnapshotFile[]): SnapshotFacts {
  return factsOf(files, files.toSorted(byAge)[0]?.name ?? "");
}

function factsOf(files: readonly SnapshotFile[], name: string): SnapshotFacts {
  const same = files.filter((file) => file.name === name);
  return {
    local: same.find(({ uploaded }) => !uploaded),
    uploaded: same.find(({ uploaded }) => uploaded),
    stored: undefined,
    content: undefined,
  };
}

/**
 * The request to RKE2. It includes the bucket: for an on-demand snapshot RKE2 does not use its server's own S3
 * settings.
 */
function saveRequest({ input, credentials }: Work): SaveRequest {
  const { s3 } = input.backup;
  const name = snapshotPrefix(input.rollout);
  if (s3 === undefined || credentials === undefined) return { name };
  const { host, protocol } = new URL(s3.endpoint);
  return {
    name,
    s3: {
      endpoint: host,
      insecure: protocol === "http:",
      region: s3.region,
      bucket: s3.bucket,
      folder: s3.prefix,
      bucketLookup: s3.pathStyle ? "path" : "auto",
      accessKey: credentials.accessKeyId,
      secretKey: credentials.secretAccessKey,
      ...(credentials.sessionToken === undefined ? {} : { sessionToken: credentials.sessionToken }),
      timeout: `${input.site.timeouts.snapshot}s`,
    },
  };
}

function evidence({ local, uploaded, stored, content }: SnapshotFacts): SnapshotEvidence {
  const known = {
    snapshot: local?.name,
    node: local?.node,
    location: uploaded?.location ?? local?.location,
    bytes: stored?.bytes ?? local?.bytes,
    created: local?.created,
    etag: stored?.etag,
    sha256: content?.actual,
    encryption: stored?.encryption,
    retainUntil: stored?.retainUntil,
  };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined));
}

function attention({ cluster, backup }: SnapshotInput, lacks: readonly string[]): UserError {
  return new UserError({
    what: `RequiresAttention: no etcd snapshot is proved, so no server comes or leaves: ${lacks.join("; ")}`,
    where: `cluster ${cluster}${backup.s3 ? `, bucket ${backup.s3.bucket} at ${backup.s3.endpoint}` : ""}`,
    todo: "mend what is named, then run pulumi up again: nothing was changed (docs/production.md, Backups)",
  });
}
