import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import { request, type Dispatcher } from "undici";
import type { Deadline } from "../../runtime/deadline.ts";
import { connections } from "../../runtime/connections.ts";
import { UserErrors } from "../../runtime/errors.ts";
import { proxyOf } from "../../runtime/proxy.ts";
import { hide } from "../../runtime/log.ts";
import { isConnectionError, requireProxy, tries } from "../retry.ts";
import { keyOf, type BucketPolicy, type ObjectContent, type StoredObject } from "../../domain/backup/snapshot.ts";

/** The credentials that the AWS command line and every SDK read. */
export interface BucketCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string | undefined;
}

/**
 * Reads the credentials of the bucket from the environment and hides their secret parts.
 * @throws UserErrors that names every missing variable
 */
export function bucketCredentials(environment: Record<string, string | undefined>): BucketCredentials {
  const read = (name: string) => environment[name] ?? "";
  const credentials = {
    accessKeyId: read("AWS_ACCESS_KEY_ID"),
    secretAccessKey: read("AWS_SECRET_ACCESS_KEY"),
    sessionToken: read("AWS_SESSION_TOKEN") || undefined,
  };
  const missing = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].filter((name) => read(name) === "");
  if (missing.length > 0)
    throw new UserErrors(
      missing.map((name) => ({
        what: `${name} is not set: the step cannot look into the bucket`,
        where: "the environment of the step",
        todo: `export ${name} where pulumi up runs`,
      })),
    );
  hide(credentials.secretAccessKey);
  if (credentials.sessionToken !== undefined) hide(credentials.sessionToken);
  return credentials;
}

/** Milliseconds before a HEAD request is tried again. */
const pause = 500;

/** The result of a HEAD request: the object, that it does not exist, or why that is unknown. */
export type Look = { kind: "found"; object: StoredObject } | { kind: "absent" } | { kind: "failed"; why: string };

/** The result of reading an object: its content, or why it could not be read. */
export type Reading = { kind: "read"; content: ObjectContent } | { kind: "failed"; why: string };

/** Length of the checksum that etcd appends to the database. */
const checksumBytes = 32;

/** Reads an object to its end, and keeps only its length and checksums. */
export async function readSnapshot(
  s3: BucketPolicy,
  name: string,
  credentials: BucketCredentials,
  deadline: Deadline,
): Promise<Reading> {
  const url = objectUrl(s3, keyOf(s3, name));
  const sockets = connections({});
  try {
    const { statusCode, body } = await send("GET", url, s3, { credentials, deadline, sockets });
    if (statusCode === 200) return { kind: "read", content: await readContent(body) };
    await body.dump();
    return { kind: "failed", why: `${statusCode} to GET ${url}` };
  } catch (error) {
    deadline.throwIfStopped();
    requireProxy(error, `GET ${url}`);
    if (deadline.passed) throw deadline.error(`reading ${url} takes too long: evergreen:backup.s3.checkContent`);
    if (!isConnectionError(error)) throw error;
    return { kind: "failed", why: `the connection broke during GET ${url} (${error.code})${via(url)}` };
  } finally {
    await sockets.destroy();
  }
}

async function readContent(body: AsyncIterable<Buffer>): Promise<ObjectContent> {
  const hash = createHash("sha256");
  let bytes = 0;
  let tail = Buffer.alloc(0);
  for await (const chunk of body) {
    bytes += chunk.length;
    const held = Buffer.concat([tail, chunk]);
    const end = Math.max(0, held.length - checksumBytes);
    hash.update(held.subarray(0, end));
    tail = held.subarray(end);
  }
  return { bytes, claimed: tail.toString("hex"), actual: hash.digest("hex") };
}

/** Reads an object's metadata with HEAD, which gives only the status when it fails. */
export async function headSnapshot(
  s3: BucketPolicy,
  name: string,
  credentials: BucketCredentials,
  deadline: Deadline,
): Promise<Look> {
  const url = objectUrl(s3, keyOf(s3, name));
  const sockets = connections({});
  let tried = 0;
  let why = "";
  const once = async (): Promise<Look | undefined> => {
    tried += 1;
    try {
      const { statusCode, headers, body } = await send("HEAD", url, s3, { credentials, deadline, sockets });
      await body.dump();
      if (statusCode === 200) return { kind: "found", object: storedObject(headers) };
      if (statusCode === 404) return { kind: "absent" };
      why = `${statusCode} to HEAD ${url}`;
      if (statusCode < 500) return { kind: "failed", why };
    } catch (error) {
      deadline.throwIfStopped();
      requireProxy(error, `HEAD ${url}`);
      if (deadline.passed) throw deadline.error(why || `no answer to HEAD ${url}`);
      if (!isConnectionError(error)) throw error;
      why = `no answer to HEAD ${url} (${error.code})${via(url)}`;
    }
    return tried < tries ? undefined : { kind: "failed", why };
  };
  return await deadline.poll(pause, once, () => why).finally(() => sockets.destroy());
}

/** The proxy that a request goes through, for a message. */
function via(url: string): string {
  const proxy = proxyOf(new URL(url));
  return proxy === undefined ? "" : ` through the proxy ${proxy.host}`;
}

interface Sending {
  credentials: BucketCredentials;
  deadline: Deadline;
  sockets: Dispatcher;
}

async function send(
  method: "HEAD" | "GET",
  url: string,
  { region }: BucketPolicy,
  { credentials: { accessKeyId, secretAccessKey, sessionToken }, deadline, sockets }: Sending,
): Promise<Dispatcher.ResponseData> {
  const given = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  const signed = await new AwsV4Signer({ method, url, service: "s3", region, ...given }).sign();
  return await request(signed.url, {
    method,
    dispatcher: sockets,
    headers: Object.fromEntries(signed.headers),
    headersTimeout: 10_000,
    signal: deadline.signal(),
  });
}

/** URL of an object: the bucket's name is in the host name or in the path. */
export function objectUrl({ endpoint, bucket, pathStyle }: BucketPolicy, key: string): string {
  const url = new URL(endpoint);
  if (!pathStyle) url.hostname = `${bucket}.${url.hostname}`;
  url.pathname = `${pathStyle ? `/${bucket}` : ""}/${key}`;
  return url.href;
}

function storedObject(headers: Dispatcher.ResponseData["headers"]): StoredObject {
  const text = (name: string): string | undefined => {
    const value = headers[name];
    return typeof value === "string" && value !== "" ? value : undefined;
  };
  const length = text("content-length") ?? "";
  return {
    bytes: /^\d+$/.test(length) ? Number(length) : undefined,
    etag: text("etag")?.replaceAll('"', ""),
    encryption: text("x-amz-server-side-encryption"),
    retainUntil: text("x-amz-object-lock-retain-until-date"),
    // Written by RKE2 with every upload (k3s, pkg/etcd/s3/s3.go).
    clusterId: text("x-amz-meta-rke2-cluster-id"),
    tokenHash: text("x-amz-meta-rke2-token-hash"),
  };
}
