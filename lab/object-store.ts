/** A real S3 server in the lab, for the snapshots of its clusters: no part of it is emulated. */
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { AwsV4Signer } from "aws4fetch";
import { request } from "undici";
import { Deadline } from "../src/runtime/deadline.ts";
import type { Processes } from "./process.ts";

export interface ObjectStoreOptions {
  binary: string;
  address: string;
  /** Directory of its buckets. */
  directory: string;
  processes: Processes;
}

/** Access to its bucket, which is called {@link labBucket}. */
export interface ObjectStore {
  /** `http://127.40.0.3:9000` */
  endpoint: string;
  accessKey: string;
  secretKey: string;
}

/** The bucket that exists from the start, empty; objects in it can be locked. */
export const labBucket = { bucket: "snapshots", region: "us-east-1" } as const;

const startSeconds = 20;

/** Starts the server; it ends with the guests' processes. @throws DeadlineError with the end of its log */
export async function startObjectStore(options: ObjectStoreOptions): Promise<ObjectStore> {
  const { binary, address, directory, processes } = options;
  const [buckets, facts] = [join(directory, "buckets"), join(directory, "facts")];
  for (const path of [buckets, facts]) mkdirSync(path, { recursive: true, mode: 0o700 });
  const store = { endpoint: `http://${address}:9000`, accessKey: "lab", secretKey: randomBytes(16).toString("hex") };
  const child = processes.start({
    name: "object-store",
    command: binary,
    // Metadata of objects is kept in files beside them: not every file system of a laptop has extended attributes.
    args: ["--port", `${address}:9000`, "--region", labBucket.region, "--quiet", "posix", "--sidecar", facts, buckets],
    env: { ROOT_ACCESS_KEY: store.accessKey, ROOT_SECRET_KEY: store.secretKey, GOGC: "50" },
  });
  await new Deadline("the lab's S3 server", startSeconds).poll(
    100,
    () => createBucket(store),
    () => child.lastWords,
  );
  return store;
}

/** Creates the bucket. @returns undefined while the server does not answer */
async function createBucket({ endpoint, accessKey, secretKey }: ObjectStore): Promise<true | undefined> {
  const { bucket, region } = labBucket;
  const signer = new AwsV4Signer({
    method: "PUT",
    url: `${endpoint}/${bucket}`,
    headers: { "x-amz-bucket-object-lock-enabled": "true" },
    service: "s3",
    region,
    accessKeyId: accessKey,
    secretAccessKey: secretKey,
  });
  const signed = await signer.sign();
  const sent = request(signed.url, { method: "PUT", headers: Object.fromEntries(signed.headers) });
  const answer = await sent.catch(() => undefined);
  if (answer === undefined) return undefined;
  const text = await answer.body.text();
  if (answer.statusCode === 200) return true;
  throw new Error(`the lab's S3 server answered ${answer.statusCode}: ${text.slice(0, 200)}`);
}
