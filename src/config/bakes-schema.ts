import { z } from "zod";
import { count, image, text } from "./value-schema.ts";

/** A name that goes into a request, and in some into a list of options. */
export const placeName = text
  .regex(/^[a-zA-Z0-9][\w.-]*$/, "must be the name of a host, pool, storage or bridge")
  .meta({ values: "letters, digits, dots, dashes and underscores" });
export const bakeVmid = count(100).max(999_999_999);

/** The fixed address of a guest while it bakes. */
const bakeAddress = z.strictObject({
  cidr: z.cidrv4().meta({
    description: "IPv4 address with the length of its network, such as `10.20.0.9/24`.",
    values: "IPv4 address with a prefix length",
    change: "In place: the next bake has it.",
  }),
  gateway: z.ipv4().meta({
    description: "Gateway of that network.",
    values: "IPv4 address",
    change: "In place: the next bake has it.",
  }),
  nameservers: z.array(z.ipv4()).meta({
    description: "Servers of DNS.",
    values: "list of IPv4 addresses",
    change: "In place: the next bake has them.",
  }),
});

/** Where images are baked. */
export const bakePlace = z.strictObject({
  host: placeName.meta({
    description: "Proxmox host that bakes, and that the templates are on.",
    change: "Refused while a template is there: it stays on its host.",
  }),
  storage: placeName.exactOptional().meta({
    description: "Storage of the templates' disks. Linked clones have theirs there too.",
    unset: "`evergreen:site.storage`",
    change: "In place: the next bake has it.",
  }),
  imageStorage: placeName.meta({
    description:
      "Storage of base images and of the CDs of bakes, with the contents `import` and `iso`. The token of bakes may remove all that is there, so no VM has a disk on it.",
    change: "In place: base images are downloaded again.",
  }),
  bridge: placeName.exactOptional().meta({
    description: "Bridge or VNet of the guests while they bake, from which they reach the archive and RKE2's releases.",
    unset: "`evergreen:site.bridge`",
    change: "In place: the next bake has it.",
  }),
  vlan: z.int().min(1).max(4094).exactOptional().meta({
    description: "VLAN there.",
    unset: "none",
    change: "In place: the next bake has it.",
  }),
  address: bakeAddress.exactOptional().meta({
    description: "Fixed address of the guests while they bake. With one, images are baked one after the other.",
    unset: "DHCP",
  }),
  cores: count(1).default(2).meta({
    description: "Virtual CPUs of the guests while they bake.",
    change: "In place: the next bake has them.",
  }),
  memoryMiB: count(1024).default(4096).meta({
    description: "Memory of the guests while they bake, in MiB.",
    change: "In place: the next bake has it.",
  }),
});

/** From where a guest gets what it downloads. */
export const bakeSources = z.strictObject({
  snapshots: z.url().meta({
    description: "Service of snapshots of the distribution's archive.",
    values: "HTTP or HTTPS address",
    change: "In place: the next bake has it.",
  }),
  snapshotKey: text.exactOptional().meta({
    description: "OpenPGP key that signs its archives, in ASCII armour.",
    unset: "the distribution's own",
    change: "In place: the next bake has it.",
  }),
  rke2: z.url().meta({
    description: "Releases of RKE2.",
    values: "HTTP or HTTPS address",
    change: "In place: the next bake has it.",
  }),
});

const baked = z.strictObject({
  image: image.meta({
    description:
      "Name of the image: that of a definition, with its version. Servers and pools name it as their `image`, also before it is there.",
    change: "Another image is baked, beside the old one. An image that is taken off the list stays as a template.",
  }),
  host: placeName.exactOptional().meta({
    description:
      "Proxmox host that bakes it, and that its template is on. Where hosts have no shared storage, list the image once for each host, each with VMIDs of its own: a node is cloned from the template of its host.",
    unset: "`place.host`",
    change: "Another template is baked there, beside the old one.",
  }),
  vmid: bakeVmid.meta({
    description: "VMID of its template, one of `range`.",
    change: "Refused while the template is there: two templates of one name would be there.",
  }),
  proofVmid: bakeVmid.meta({
    description: "VMID of the clone that proves it, one of `range` and of no other image. It is gone afterwards.",
    change: "In place.",
  }),
});

/** The images that a stack bakes itself. */
export const bakes = z.strictObject({
  images: z.array(baked).min(1).meta({
    description:
      "Images that an update bakes from their definitions and proves, where they are not there yet, before it touches any node.",
  }),
  range: z
    .strictObject({
      first: bakeVmid.meta({ description: "First VMID of the range.", change: "In place." }),
      last: bakeVmid.meta({ description: "Last VMID of the range; the range includes it.", change: "In place." }),
    })
    .meta({ description: "VMIDs of bakes, which nothing else uses: a bake touches no other VM." }),
  place: bakePlace.meta({ description: "Where images are baked, and where their templates are." }),
  sources: bakeSources.exactOptional().meta({
    description: "From where a guest gets what it downloads.",
    unset: "the public ones",
  }),
  evidence: text.default("bakes").meta({
    description: "Folder for the logs of bakes and proofs that failed, from the folder of the project on.",
    change: "In place.",
  }),
});
