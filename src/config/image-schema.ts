import { z } from "zod";
import { CNIS, PACKAGES_OF_EVERY_IMAGE } from "../domain/images/definition.ts";
import { parseVersion } from "../domain/versions/versions.ts";

/*
 * The keys of `images/<name>/image.yaml`. docs/image-keys.md and docs/image.schema.json are made of this file (`npm run docs`).
 * The metadata of each key says what it means, with its unit; `unset`, what applies without it, where the default does not
 * say it; `values`, which values are possible, where type and bounds do not say it.
 */

const text = z.string().min(1).max(1024);
/** One digit, again and again, is what somebody writes who does not know the digest. */
const isPlaceholder = (digits: string): boolean => new Set(digits).size === 1;

const sha256 = z
  .string()
  .regex(/^[0-9a-fA-F]{64}$/, "must be a whole SHA-256: 64 hexadecimal digits")
  .refine((value) => !isPlaceholder(value), "must be the digest of the file, and this one stands in for it")
  .transform((value) => value.toLowerCase())
  .meta({ values: "SHA-256, 64 hexadecimal digits" });

/** A list in which nothing stands twice. */
function distinct<T extends z.ZodType<string>>(entry: T, most: number) {
  return z
    .array(entry)
    .max(most)
    .superRefine((list, context) => {
      for (const [index, value] of list.entries())
        if (list.indexOf(value) < index)
          context.addIssue({ code: "custom", path: [index], message: "must stand in the list once" });
    });
}

const MOVING = /^(current|latest|release|releases|daily|stable|testing|master|main)$/;

/** The date of the release in an address: that of the last folder that has one. `release-20260725` gives `20260725`. */
export function serialOf(url: string): string | undefined {
  const folders = URL.canParse(url) ? new URL(url).pathname.split("/").slice(1, -1) : [];
  return folders.flatMap((folder) => /(?:^|[^0-9])(20\d{6}(?:[.-]\d{1,4})?)$/.exec(folder)?.[1] ?? []).at(-1);
}

/** Whether an id of the snapshot archive is a moment that there is: no 31 February. */
function isMoment(id: string): boolean {
  const iso = id.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, "$1-$2-$3T$4:$5:$6.000Z");
  const at = new Date(iso);
  return !Number.isNaN(at.getTime()) && at.toISOString() === iso;
}

function addressFault(value: string): string | undefined {
  if (!URL.canParse(value)) return "must be the address of a file, such as https://HOST/releases/.../FILE.img";
  const { protocol, search, hash, hostname, pathname } = new URL(value);
  const [, ...parts] = pathname.split("/");
  const file = parts.at(-1) ?? "";
  if (protocol !== "https:") return "must begin with https://";
  if (search !== "" || hash !== "") return "must be an address without ? and #";
  if (!/\.(img|qcow2|raw)$/.test(file)) return "must end with the name of an image: .img, .qcow2 or .raw";
  const folder = parts.at(-2) ?? "";
  if (MOVING.test(folder))
    return `must name one release by its date, such as release-20260725: what lies in ${folder}/ changes`;
  const serial = serialOf(value);
  if (serial === undefined || !isMoment(`${serial.slice(0, 8)}T000000Z`))
    return "must name one release by its date, such as .../release-20260725/FILE.img";
  if (hostname === "cloud-images.ubuntu.com" && parts[0] !== "releases")
    return "must be of a release (/releases/): dailies are removed after some weeks";
  return undefined;
}

const base = z.strictObject({
  url: text
    .superRefine((value, context) => {
      const message = addressFault(value);
      if (message !== undefined) context.addIssue({ code: "custom", message });
    })
    .meta({
      description:
        "HTTPS address of the cloud image that the bake begins with: one release, in a folder with its date. The date of the release is taken from there.",
      values: "address such as `https://cloud-images.ubuntu.com/releases/noble/release-20260725/FILE.img`",
    }),
  sha256: sha256.meta({ description: "SHA-256 of that file." }),
  signedBy: z
    .string()
    .regex(/^[0-9a-fA-F]{40}$/, "must be a whole fingerprint: 40 hexadecimal digits without blanks")
    .refine((value) => !isPlaceholder(value), "must be the fingerprint of a key, and this one stands in for it")
    .transform((value) => value.toUpperCase())
    .meta({
      description:
        "Full fingerprint of the OpenPGP key that signed the list of sums from which the digest comes. Ubuntu's is `D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81`.",
      values: "fingerprint, 40 hexadecimal digits",
    }),
});

/** Debian policy 5.6.7. `apt-get install name-` removes a package, so no name ends with a dash. */
const packageName = z
  .string()
  .max(100)
  .regex(
    /^[a-z0-9][a-z0-9+.-]*[a-z0-9+.]$/,
    "must be the name of a Debian package, without version or architecture: archiveDate decides the version",
  )
  .meta({ values: "name of a Debian package" });

const unit = z
  .string()
  .max(255)
  .regex(
    /^[A-Za-z0-9:_.\\@-]+\.(service|socket|timer|path|mount|automount|target|swap|slice)$/,
    "must be the whole name of a unit of systemd, such as fstrim.timer",
  )
  .meta({ values: "name of a unit such as `fstrim.timer`" });

const rke2 = z.strictObject({
  version: text
    .refine((value) => parseVersion(value) !== undefined, "must be an RKE2 version such as v1.36.4+rke2r1")
    .meta({ description: "Version of RKE2.", values: "version such as `v1.36.4+rke2r1`" }),
  cni: distinct(z.enum(CNIS), CNIS.length).min(1).default(["canal"]).meta({
    description:
      "Plugins for the network of pods whose container images are in the image, those that clusters of it have in `cni`. `none`: the clusters bring their own.",
  }),
  artefacts: z
    .record(z.string().max(100), sha256)
    .refine((files) => Object.keys(files).length <= 40, "must have at most 40 entries")
    .meta({
      description:
        "Files of the release, each with its SHA-256: the programs, and archives of container images, each with the list of what is in it. The digest of a list may be left to `sha256sum-ARCH.txt`, when that is pinned here.",
      values: "map of file names such as `rke2-images-core.linux-amd64.tar.zst` and digests",
    }),
});

const kernel = z.strictObject({
  parameters: distinct(
    // A shell and grub read it: nothing that means something to them.
    z
      .string()
      .max(200)
      .regex(
        /^[A-Za-z0-9_.-]+(=[A-Za-z0-9_.,:/@%+=*-]*)?$/,
        "must be name or name=value: letters, digits and _ . , : / @ % + = * -",
      )
      .meta({ values: "`name` or `name=value`" }),
    50,
  )
    .default([])
    .meta({ description: "Parameters that are added to the kernel's command line, in this order." }),
  modules: distinct(
    z
      .string()
      .max(64)
      .regex(/^[A-Za-z0-9_-]+$/, "must be the name of a kernel module such as br_netfilter")
      .meta({ values: "name of a kernel module" }),
    50,
  )
    .default([])
    .meta({ description: "Kernel modules that are loaded at boot." }),
});

const services = z.strictObject({
  enable: distinct(unit, 100).default([]).meta({ description: "Units of systemd that are started at each boot." }),
  mask: distinct(unit, 100).default([]).meta({ description: "Units of systemd that nothing starts." }),
});

/** A schema of `image.yaml`. What its `files/`, `scripts/` and `tests/` must be, image-files.ts says. */
export const imageSchema = z.strictObject({
  version: text
    .regex(/^v(0|[1-9]\d{0,3})\.(0|[1-9]\d{0,3})\.(0|[1-9]\d{0,3})$/, "must be a version such as v1.2.0")
    .meta({
      description:
        "Version of the definition. The template is named by it, so every change of a definition that was baked needs another one.",
      values: "version such as `v1.2.0`",
    }),
  base: base.meta({ description: "The cloud image that the bake begins with." }),
  archiveDate: text
    .regex(/^\d{8}T\d{6}Z$/, "must be a moment of the archive such as 20260801T000000Z")
    .refine(isMoment, "must be a moment that there is")
    .meta({
      description:
        "The moment of Ubuntu's archive from which every package comes, in UTC, as snapshot.ubuntu.com names it. Not before the date of the base image.",
      values: "moment such as `20260801T000000Z`",
    }),
  packages: distinct(
    packageName.refine(
      (name) => !(PACKAGES_OF_EVERY_IMAGE as readonly string[]).includes(name),
      "must be left out: every image has it",
    ),
    500,
  )
    .default([])
    .meta({
      description: `Debian packages, besides those that every image has: ${PACKAGES_OF_EVERY_IMAGE.map((name) => `\`${name}\``).join(", ")}.`,
    }),
  hold: distinct(packageName, 100)
    .default([])
    .meta({ description: "Packages that stay at their version when nodes are patched in place." }),
  diskGiB: z.int().min(4).max(1024).default(12).meta({
    description: "Size of the template's disk in GiB: the room that a bake has. Clones may have more, and never less.",
  }),
  rke2: rke2.meta({ description: "RKE2, as it lies in the image." }),
  kernel: kernel.prefault({}).meta({ description: "Settings of the kernel that sysctl cannot make." }),
  sysctl: z
    .record(
      z
        .string()
        .max(200)
        .regex(
          /^[a-z][a-z0-9_]*([./][A-Za-z0-9_*-]+)+$/,
          "must be the name of a kernel setting such as vm.max_map_count",
        ),
      z.union([z.int(), z.string().regex(/^[\x21-\x7e][\x20-\x7e\t]{0,255}$/, "must be one line of text")]),
    )
    .default({})
    .meta({
      description: "Kernel settings, as in `sysctl.d`.",
      values: "map of names such as `vm.max_map_count` and numbers or texts",
    }),
  hardening: z
    .enum(["none", "cis"])
    .default("none")
    .meta({ description: "`cis`: the image has what RKE2 asks of its host with `profile: cis`." }),
  ssh: z
    .boolean()
    .default(false)
    .meta({ description: "Whether the image has an SSH server. Without one the guest agent is the way in." }),
  services: services.prefault({}).meta({ description: "Units of systemd, of packages or of `files/`." }),
  modes: z
    .record(
      z.string().max(1024),
      z
        .string()
        .regex(/^0[0-7]{3}$/, 'must be four octal digits in quotes, such as "0640"')
        .refine((mode) => (Number.parseInt(mode, 8) & 0o002) === 0, "must not let everybody write"),
    )
    .default({})
    .meta({
      description:
        "Permissions of files of `files/`, by their absolute path in the image. Others have 0644, or 0755 when the file is executable.",
      values: 'map of absolute paths and octal digits in quotes such as `"0640"`',
    }),
});

/** What is written in an `image.yaml`, with its defaults. */
export type ImageKeys = z.output<typeof imageSchema>;
