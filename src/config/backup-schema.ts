import { z } from "zod";

const text = z.string().min(1);
const count = (least: number) => z.int().min(least);

const bucket = z.strictObject({
  endpoint: text.refine(isBucketEndpoint, "must be https://HOST or https://HOST:PORT; http is for loopback only").meta({
    description:
      "URL of the S3 endpoint. Plain HTTP is accepted only on loopback, because a snapshot holds every secret of the cluster. The servers and the machine that runs the update must trust its certificate.",
    values: "`https://HOST` or `https://HOST:PORT`",
    change: "In place.",
  }),
  region: text.default("us-east-1").meta({
    description: "Region of the bucket; it is part of every request signature.",
    change: "In place.",
  }),
  bucket: text.regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "must be the name of a bucket").meta({
    description: "Name of the bucket.",
    change: "In place.",
  }),
  prefix: z
    .string()
    .regex(/^([\w.-]*\w(\/[\w.-]*\w)*)?$/, "must be like etcd/prod, without slashes at its ends")
    .default("")
    .meta({
      description: "Prefix of the snapshots' object names, such as `etcd/prod`, without a slash at either end.",
      change: "In place.",
    }),
  pathStyle: z.boolean().default(false).meta({
    description:
      "Whether the bucket's name is part of the URL's path instead of its host name: `true` for most S3 servers that are not AWS.",
    change: "In place.",
  }),
  encryption: z.enum(["none", "AES256", "aws:kms"]).default("none").meta({
    description:
      "The server-side encryption that the bucket must report for a snapshot. RKE2 does not request it: the bucket's default encryption does. `none`: not checked.",
    change: "In place.",
  }),
  checkContent: z.boolean().default(true).meta({
    description:
      "Whether the whole object is read back and its content compared with the checksum that etcd wrote into it. Set it to `false` where the connection from the bucket to the machine that runs the update is too slow; then only the size is checked.",
    change: "In place.",
  }),
  retentionDays: count(1).exactOptional().meta({
    description: "Days for which a snapshot must be locked (object lock) by the bucket's default retention.",
    unset: "not checked",
    change: "In place.",
  }),
});

/** The etcd snapshot that is made before the first server is decommissioned, or a second one joins the only one. */
export const backup = z.strictObject({
  minimumKiB: count(1).default(1024).meta({
    description:
      "Smallest size of an etcd snapshot that is accepted, in KiB. A good value is half the size of an existing snapshot.",
    change: "In place.",
  }),
  maximumAgeSeconds: count(60).default(3600).meta({
    description: "Largest age at which a verified snapshot of the same rollout is used again, in seconds.",
    change: "In place.",
  }),
  s3: bucket.exactOptional().meta({
    description:
      "Bucket that the snapshot is also uploaded to. The credentials come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`).",
    unset: "no bucket: the snapshot is only on the disk of one server, which is destroyed when that server is replaced",
    change: "In place.",
  }),
});

/** True for a URL without path, query or user, and with TLS unless it is a loopback address. */
function isBucketEndpoint(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, origin } = new URL(value);
  if (value !== origin) return false;
  return protocol === "https:" || (protocol === "http:" && /^127(\.\d+){3}$/.test(hostname));
}
