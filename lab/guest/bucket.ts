/** RKE2's S3 client: checks that a bucket exists, uploads a snapshot to it and downloads one from it. */
import { AwsV4Signer } from "aws4fetch";
import { request } from "undici";
import { messageOf } from "../../src/runtime/errors.ts";

/** The destination that a request or the command line names (k3s, pkg/daemons/config: EtcdS3). */
export interface Destination {
  /** Host and port. */
  endpoint: string;
  bucket: string;
  region: string;
  folder?: string;
  insecure?: boolean;
  accessKey?: string;
  secretKey?: string;
}

/** The name of an object below the destination's folder. */
export function keyIn({ folder = "" }: Destination, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

/** Requires that the bucket exists. @throws Error in RKE2's words when it does not exist or does not answer */
export async function requireBucket(to: Destination): Promise<void> {
  const { status } = await send(to, "HEAD", "").catch((error: unknown) => {
    throw new Error(`failed to test for existence of bucket ${to.bucket}: ${messageOf(error)}`);
  });
  if (status === 404) throw new Error(`bucket ${to.bucket} does not exist`);
  if (status !== 200) throw new Error(`failed to test for existence of bucket ${to.bucket}: ${status}`);
}

/** Uploads an object. @param metadata without its prefix, as `rke2-cluster-id` */
export async function upload(
  to: Destination,
  key: string,
  content: Buffer,
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const headers = Object.entries(metadata).map(([name, value]) => [`x-amz-meta-${name}`, value] as const);
  const { status } = await send(to, "PUT", `/${key}`, content, {
    "content-type": "application/octet-stream",
    ...Object.fromEntries(headers),
  });
  if (status !== 200) throw new Error(`the bucket ${to.bucket} answered ${status} to the upload`);
}

/** Downloads an object. @throws Error in the words of RKE2's library when there is no such object */
export async function download(from: Destination, key: string): Promise<Buffer> {
  const { status, content } = await send(from, "GET", `/${key}`);
  if (status === 404) throw new Error("The specified key does not exist.");
  if (status !== 200) throw new Error(`the bucket ${from.bucket} answered ${status} to the download`);
  return content;
}

async function send(
  to: Destination,
  method: "HEAD" | "PUT" | "GET",
  path: string,
  body?: Buffer,
  headers: Record<string, string> = {},
): Promise<{ status: number; content: Buffer }> {
  const url = `${to.insecure === true ? "http" : "https"}://${to.endpoint}/${to.bucket}${path}`;
  const keys = { accessKeyId: to.accessKey ?? "", secretAccessKey: to.secretKey ?? "" };
  const options = { method, url, headers, service: "s3", region: to.region, ...keys };
  const signed = await new AwsV4Signer(body ? { ...options, body: new Uint8Array(body) } : options).sign();
  const answer = await request(signed.url, {
    method,
    headers: Object.fromEntries(signed.headers),
    ...(body ? { body } : {}),
    headersTimeout: 10_000,
  });
  return { status: answer.statusCode, content: Buffer.from(await answer.body.arrayBuffer()) };
}
