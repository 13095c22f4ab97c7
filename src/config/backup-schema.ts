import { z } from "zod";

const text = z.string().min(1);
const count = (least: number) => z.int().min(least);

const bucket = z.strictObject({
  /**
   * Where the bucket answers: `https://s3.eu-central-1.amazonaws.com`. Without TLS only on loopback: a snapshot holds every
   * secret of the cluster. Servers must trust its certificate, as the machine that updates must.
   * A change: in place.
   */
  endpoint: text.refine(isBucketEndpoint, "must be https://HOST or https://HOST:PORT; http is for loopback only"),
  /**
   * Region of the bucket, part of every signature.
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
   * What the names of the snapshots begin with, without slashes at its ends.
   * @default "": nothing
   * A change: in place.
   */
  prefix: z
    .string()
    .regex(/^([\w.-]*\w(\/[\w.-]*\w)*)?$/, "must be like etcd/prod, without slashes at its ends")
    .default(""),
  /**
   * Whether the name of the bucket stands in the path, and not in the host's name.
   * @default false
   * A change: in place.
   */
  pathStyle: z.boolean().default(false),
  /**
   * How the bucket must say that a snapshot is encrypted. RKE2 does not ask for it: the bucket's own rule does.
   * @default "none": it is not looked at
   * A change: in place.
   */
  encryption: z.enum(["none", "AES256", "aws:kms"]).default("none"),
  /**
   * Whether the object is read back whole and its content held against the checksum that etcd wrote into it. False where
   * the way from the bucket to the machine that updates is too narrow; then its size must do.
   * @default true
   * A change: in place.
   */
  checkContent: z.boolean().default(true),
  /**
   * Days that a snapshot must be locked for (object lock), by the bucket's own rule.
   * @default none: it is not looked at
   * A change: in place.
   */
  retentionDays: count(1).exactOptional(),
});

/** The etcd snapshot that is made before the first server leaves. */
export const backup = z.strictObject({
  /**
   * Smallest size of an etcd snapshot that is believed, in KiB. Look at one of yours and take a half of it.
   * @default 1024
   * A change: in place.
   */
  minimumKiB: count(1).default(1024),
  /**
   * Age up to which a proved snapshot of the same rollout is used again, in seconds.
   * @default 3600
   * A change: in place.
   */
  maximumAgeSeconds: count(60).default(3600),
  /**
   * Bucket that the snapshot goes to as well. The credentials come from the environment (AWS_ACCESS_KEY_ID,
   * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).
   * @default none: the disk of one server, which goes when that server is replaced
   * A change: in place.
   */
  s3: bucket.exactOptional(),
});

/** A URL without path, query or user, and with TLS unless it leads to this machine. */
function isBucketEndpoint(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, origin } = new URL(value);
  if (value !== origin) return false;
  return protocol === "https:" || (protocol === "http:" && /^127(\.\d+){3}$/.test(hostname));
}
