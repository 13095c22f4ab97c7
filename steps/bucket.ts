import { AwsV4Signer } from "aws4fetch";
import { request, type Dispatcher } from "undici";
import type { Deadline } from "../common/deadline.ts";
import { UserErrors } from "../common/errors.ts";
import { hide } from "../common/log.ts";
import { isConnectionError } from "../kubernetes/client.ts";
import { keyOf, type BucketPolicy, type StoredObject } from "../rollout/snapshot.ts";

/** As the AWS command line and every SDK read them. */
export interface BucketCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string | undefined;
}

/**
 * Reads the credentials of the bucket from the environment and hides what is secret of them.
 * @throws UserErrors that names every variable that is missing
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

/** Milliseconds before a look is tried again. */
const pause = 500;
const tries = 4;

/** What a look into the bucket gave: the object, that there is none, or why nobody can say. */
export type Look = { kind: "found"; object: StoredObject } | { kind: "absent" } | { kind: "failed"; why: string };

/** Asks the bucket for an object's facts: HEAD, which tells the status and nothing more when it fails. */
export async function headSnapshot(
  s3: BucketPolicy,
  name: string,
  credentials: BucketCredentials,
  deadline: Deadline,
): Promise<Look> {
  const url = objectUrl(s3, keyOf(s3, name));
  let tried = 0;
  let why = "";
  const once = async (): Promise<Look | undefined> => {
    tried += 1;
    try {
      const { statusCode, headers } = await head(url, s3, credentials, deadline);
      if (statusCode === 200) return { kind: "found", object: storedObject(headers) };
      if (statusCode === 404) return { kind: "absent" };
      why = `${statusCode} to HEAD ${url}`;
      if (statusCode < 500) return { kind: "failed", why };
    } catch (error) {
      deadline.throwIfStopped();
      if (deadline.passed) throw deadline.error(why || `no answer to HEAD ${url}`);
      if (!isConnectionError(error)) throw error;
      why = `no answer to HEAD ${url} (${error.code})`;
    }
    return tried < tries ? undefined : { kind: "failed", why };
  };
  return await deadline.poll(pause, once, () => why);
}

async function head(
  url: string,
  { region }: BucketPolicy,
  { accessKeyId, secretAccessKey, sessionToken }: BucketCredentials,
  deadline: Deadline,
): Promise<Dispatcher.ResponseData> {
  const given = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  const signed = await new AwsV4Signer({ method: "HEAD", url, service: "s3", region, ...given }).sign();
  const answer = await request(signed.url, {
    method: "HEAD",
    headers: Object.fromEntries(signed.headers),
    headersTimeout: 10_000,
    signal: deadline.signal(),
  });
  await answer.body.dump();
  return answer;
}

/** Where an object is: with the bucket's name in the host's, or in the path. */
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
