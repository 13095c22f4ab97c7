import { z } from "zod";

const text = z.string().min(1);
const count = (least: number) => z.int().min(least);

const bucket = z.strictObject({
  /**
   * URL of the S3 endpoint: `https://s3.eu-central-1.amazonaws.com`. Plain HTTP is accepted only on loopback, because a
   * snapshot holds every secret of the cluster. The servers and the machine that runs the update must trust its
   * certificate.
   * A change: in place.
   */
  endpoint: text.refine(isBucketEndpoint, "must be https://HOST or https://HOST:PORT; http is for loopback only"),
  /**
   * Region of the bucket; it is part of every request signature.
   * @default "us-east-1"
   * A change: in place.
   */
  region: text.default("us-east-1"),
  /**
   * Name of the bucket.
   * A change: in place.
   */
  bucket: text.regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "must be the name of a bucket"),
  /**
   * Prefix of the snapshots' object names, without a slash at either end.
   * @default "": no prefix
   * A change: in place.
   */
  prefix: z
    .string()
    .regex(/^([\w.-]*\w(\/[\w.-]*\w)*)?$/, "must be like etcd/prod, without slashes at its ends")
    .default(""),
  /**
   * Whether the bucket's name is part of the URL's path instead of its host name.
   * @default false
   * A change: in place.
   */
  pathStyle: z.boolean().default(false),
  /**
   * The server-side encryption that the bucket must report for a snapshot. RKE2 does not request it: the bucket's
   * default encryption does.
   * @default "none": not checked
   * A change: in place.
   */
  encryption: z.enum(["none", "AES256", "aws:kms"]).default("none"),
  /**
   * Whether the whole object is read back and its content compared with the checksum that etcd wrote into it. Set it to
   * false where the connection from the bucket to the machine that runs the update is too slow; then only the size is
   * checked.
   * @default true
   * A change: in place.
   */
  checkContent: z.boolean().default(true),
  /**
   * Days for which a snapshot must be locked (object lock) by the bucket's default retention.
   * @default none: not checked
   * A change: in place.
   */
  retentionDays: count(1).exactOptional(),
});

/** The etcd snapshot that is made before the first server is decommissioned. */
export const backup = z.strictObject({
  /**
   * Smallest size of an etcd snapshot that is accepted, in KiB. A good value is half the size of an existing snapshot.
   * @default 1024
   * A change: in place.
   */
  minimumKiB: count(1).default(1024),
  /**
   * Largest age at which a verified snapshot of the same rollout is used again, in seconds.
   * @default 3600
   * A change: in place.
   */
  maximumAgeSeconds: count(60).default(3600),
  /**
   * Bucket that the snapshot is also uploaded to. The credentials come from the environment (AWS_ACCESS_KEY_ID,
   * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).
   * @default none: only the disk of one server, which is destroyed when that server is replaced
   * A change: in place.
   */
  s3: bucket.exactOptional(),
});

/** True for a URL without path, query or user, and with TLS unless it is a loopback address. */
function isBucketEndpoint(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, origin } = new URL(value);
  if (value !== origin) return false;
  return protocol === "https:" || (protocol === "http:" && /^127(\.\d+){3}$/.test(hostname));
}
