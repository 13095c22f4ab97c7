import { createPublicKey } from "node:crypto";
import { z } from "zod";
import { bakes } from "./bakes-schema.ts";

const text = z.string().min(1);

/** A date means its begin in UTC. The result has the form of `2026-08-01T00:00:00.000Z`. */
const time = text
  .overwrite(isoTime)
  .refine((value) => z.iso.datetime().safeParse(value).success, "must be a time or a date")
  .meta({
    values: "time or date, such as `2026-08-01T00:00:00Z` or `2026-08-01`",
  });

const validKey = z.strictObject({
  name: text.meta({ description: "What messages call the key.", change: "In place." }),
  publicKey: text.refine(isPublicKey, "must be an Ed25519 public key in PEM, as openssl pkey -pubout writes it").meta({
    description: "Its public part, as `openssl pkey -pubout` writes it. A private key is refused.",
    values: "Ed25519 public key in PEM",
    change: "In place.",
  }),
  from: time.meta({
    description: "First moment of the statements that it may sign.",
    change: "In place.",
  }),
  until: time.exactOptional().meta({
    description: "Last moment of the statements that it may sign: when it was retired.",
    unset: "the key is in use",
    change: "In place.",
  }),
});

const key = validKey.refine(({ from, until }) => until === undefined || Date.parse(from) < Date.parse(until), {
  path: ["until"],
  message: "must be later than from",
});

const proof = z.strictObject({
  stacks: z.array(text).min(1).meta({
    description: "Stacks, such as `evergreen/dev`, of which each must have run the image and found it fit.",
    change: "In place.",
  }),
  days: z.number().min(0).max(3650).default(7).meta({
    description: "How long each of them must have run it, in days.",
    change: "In place.",
  }),
});

/** What is demanded of the record of a template before it is cloned, and which images are baked. */
export const images = z.strictObject({
  records: text.default("records").meta({
    description: "Folder of the records of images, absolute or from the folder of the project on.",
    change: "In place.",
  }),
  definitions: text.default("images").meta({
    description:
      "Folder with the definitions of images, absolute or from the folder of the project on. An image that it defines must have been baked from that definition.",
    change: "In place.",
  }),
  keys: z.array(key).default([]).meta({
    description: "Keys whose signatures on records are trusted, each with its validity.",
    change: "In place.",
  }),
  unsigned: z.enum(["refuse", "accept"]).default("refuse").meta({
    description:
      "What a run does with a template whose record bears no signature. `accept` is for sites where nobody else can write to Proxmox and to the records.",
    change: "In place.",
  }),
  proof: proof.exactOptional().meta({
    description: "Stacks that must have run an image before this one does.",
    unset: "none: the tests of its bake are enough",
    change: "In place.",
  }),
  bakes: bakes.exactOptional().meta({
    description:
      "Images that this stack bakes itself ([baking and rolling in one update](images.md#baking-and-rolling-in-one-update)).",
    unset: "none: templates come from elsewhere",
  }),
});

/** Node.js would take the public part of a private key, which has no place in a stack's file. */
function isPublicKey(value: string): boolean {
  if (!value.trimStart().startsWith("-----BEGIN PUBLIC KEY-----")) return false;
  try {
    return createPublicKey(value).asymmetricKeyType === "ed25519";
  } catch {
    return false;
  }
}

/** A time of YAML without quotes reaches a program in the form of Go: `2026-08-01 00:00:00 +0000 UTC`. */
const GO_TIME = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d\d)(\d\d) \S+$/;

/** A time in the form of `2026-08-01T00:00:00.000Z`; what is none stays as it is. */
function isoTime(value: string): string {
  const iso = value.replace(GO_TIME, "$1T$2$3:$4");
  const isTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/.test(iso);
  return isTime && !Number.isNaN(Date.parse(iso)) ? new Date(iso).toISOString() : value;
}
