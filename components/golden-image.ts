import {
  ComponentResource,
  getProject,
  getStack,
  output,
  runtime,
  secret,
  unsecret,
  type ComponentResourceOptions,
  type Input,
  type Output,
} from "@pulumi/pulumi";
import type { local } from "@pulumi/command";
import { z } from "zod";
import { bakeOrder, requireRoomForOrder } from "../src/config/bake-order.ts";
import { bakePlace, bakeSources, bakeVmid, placeName } from "../src/config/bakes-schema.ts";
import { schemaProblems } from "../src/config/messages.ts";
import { imageOf } from "../src/domain/images/bake.ts";
import { typeTokens } from "../src/domain/model/formats.ts";
import type { Problem } from "../src/domain/model/problem.ts";
import { prepareBake } from "../src/program/prepare-bake.ts";
import { UserErrors } from "../src/runtime/errors.ts";
import { programVersion } from "../src/runtime/project.ts";
import { ArgumentErrors } from "./arguments.ts";
import { bakeSteps, type BakeStepsArgs } from "./bake-steps.ts";
import { explain } from "./plan.ts";

/** Where a bake has its VM, and a template its disk. */
export interface BakePlaceArgs {
  /** Proxmox host. A change of it is refused while the template is there: it stays on its host. */
  host: string;
  /** Proxmox pool of templates. */
  pool: string;
  /** Storage of the template's disk. Linked clones have theirs there too. */
  storage: string;
  /**
   * Storage of the base image and of the CD of a bake, with the contents `import` and `iso`. The token of bakes may remove
   * all that is there, so no VM has a disk on it. A change of it downloads the base image again.
   */
  imageStorage: string;
  /** Bridge or VNet of the guest while it bakes, from which it reaches the archive and RKE2's releases. */
  bridge: string;
  /** VLAN there. @default none */
  vlan?: number;
  /** Fixed address of the guest while it bakes. @default DHCP */
  address?: { cidr: string; gateway: string; nameservers: string[] };
  /** Virtual CPUs of the guest while it bakes. @default 2 */
  cores?: number;
  /** Memory of the guest while it bakes, in MiB. @default 4096 */
  memoryMiB?: number;
}

/** Arguments of a golden image: plain data. Where nothing else is said, a change of one has no effect on what is baked. */
export interface GoldenImageArgs {
  /**
   * Folder of the definition, from the program's folder on: `images/ubuntu-24-04-rke2`. With another version it is another
   * template, beside the old one; with another content and the same version it is refused.
   */
  definition: string;
  /** VMID of the template. A change of it is refused on the same host: two templates of one name would be there. */
  vmid: number;
  /** The VMIDs of bakes, which nothing else uses: a bake touches no other VM. */
  vmIds: { first: number; last: number };
  place: BakePlaceArgs;
  /**
   * From where the guest gets what it downloads: the service of snapshots, its OpenPGP key if it is not the
   * distribution's, and RKE2's releases.
   * @default the public ones
   */
  sources?: { snapshots: string; snapshotKey?: string; rke2: string };
  /** Folder for the logs of bakes that failed, from the program's folder on. @default "bakes" */
  evidence?: string;
  /** VMID of the clone that proves the template: one of `vmIds`, and of no other image. It is gone afterwards. */
  proofVmid: number;
  /** Folder of the store of records, from the program's folder on. @default "records" */
  records?: string;
  /**
   * The private key that signs records: Ed25519, in PEM. It is kept as a secret.
   * @default EVERGREEN_IMAGE_KEY of the environment; without it, records bear no signature
   */
  signingKey?: Input<string>;
}

/** The template that a golden image is, and its record. */
export interface GoldenTemplate {
  /** Its name, which `image` of a pool names. */
  image: string;
  /** Digest of all that decides its content. */
  digest: string;
  vmid: number;
  /** Proxmox host that it is on. */
  host: string;
  /** Its SMBIOS uuid. */
  uuid: string;
  /** Digest of its record. */
  record: string;
}

const args = z.strictObject({
  definition: z.string().min(1),
  vmid: bakeVmid,
  vmIds: z.strictObject({ first: bakeVmid, last: bakeVmid }),
  place: z.strictObject({
    ...bakePlace.shape,
    pool: placeName,
    storage: placeName,
    bridge: placeName,
  }),
  sources: bakeSources.exactOptional(),
  evidence: z.string().min(1).exactOptional(),
  proofVmid: bakeVmid,
  records: z.string().min(1).default("records"),
});

/**
 * A golden image: a template that is baked of a definition in Git ([golden images](../docs/images.md)). The provider
 * downloads the base image, which needs the token of bakes as PROXMOX_VE_API_TOKEN, or a provider with it in the options;
 * the bake itself, and the proof after it, take theirs from EVERGREEN_BAKE_API_TOKEN.
 *
 * What `dependsOn` it comes after the template is there. A run that ends in the middle of a bake is taken up by the next
 * one. A template is never changed, and not removed with the resource: nodes may lie on it.
 *
 * @example
 *     const image = new GoldenImage("ubuntu", {
 *       definition: "images/ubuntu-24-04-rke2",
 *       vmid: 9100,
 *       vmIds: { first: 9100, last: 9199 },
 *       place: { host: "pve1", pool: "evergreen-templates", storage: "ceph-vm", imageStorage: "images", bridge: "vmbr0" },
 *       proofVmid: 9199,
 *       signingKey: new Config("evergreen").requireSecret("imageKey"),
 *     });
 *     export const template = image.template.apply(({ image, vmid }) => `${image} is VM ${vmid}`);
 */
export class GoldenImage extends ComponentResource<local.Command> {
  /** Name of the template: of the definition, with its version. */
  readonly image: string;
  /** The template, once it is proved: unknown in a preview of a bake. */
  readonly template: Output<GoldenTemplate>;

  /**
   * @param name of the component, and no part of the template's name
   * @throws ArgumentErrors that name every wrong argument by its path, and everything that is wrong with the definition
   */
  constructor(name: string, given: GoldenImageArgs, options: ComponentResourceOptions = {}) {
    const { signingKey, ...plain } = given;
    const order = readOrder(name, plain);
    // The arguments of a component are kept in the state.
    const key = signingKey === undefined ? {} : { signingKey: secret(signingKey) };
    super(typeTokens.goldenImage, name, { order, ...key }, options);
    this.image = imageOf(order.bake);
    // What comes of a secret is one to the engine: this says nothing of the key.
    this.template = unsecret(output(this.getData()).stdout).apply((said) => JSON.parse(said) as GoldenTemplate);
  }

  protected override async initialize(
    { order, signingKey }: Declared,
    options: ComponentResourceOptions = {},
  ): Promise<local.Command> {
    // The engine deletes what a program that has ended did not declare.
    const ended = runtime.rpcKeepAlive();
    await prepareBake().catch(explain);
    const { provider } = options;
    const proved = bakeSteps(
      { order, ...(signingKey && { signingKey }) },
      { parent: this, ...(provider && { provider }) },
    );
    ended();
    return proved;
  }
}

type Declared = Pick<BakeStepsArgs, "order" | "signingKey">;

function readOrder(name: string, given: Omit<GoldenImageArgs, "signingKey">): Declared["order"] {
  const component = `the golden image ${name}`;
  const read = args.safeParse(given);
  if (!read.success) throw new ArgumentErrors(component, schemaProblems(read.error, given));
  const { definition, vmIds: range, proofVmid, records, ...settings } = read.data;
  try {
    const bake = bakeOrder(definition, { ...settings, range });
    if (proofVmid === bake.vmid || proofVmid < range.first || proofVmid > range.last)
      throw new UserErrors([notOfBakes(proofVmid, range)]);
    const builder = { stack: `${getProject()}/${getStack()}`, version: programVersion() };
    const order = { bake, vmid: proofVmid, records, builder };
    requireRoomForOrder(order, definition);
    return order;
  } catch (error) {
    throw error instanceof UserErrors ? new ArgumentErrors(component, error.problems) : error;
  }
}

const notOfBakes = (vmid: number, { first, last }: { first: number; last: number }): Problem => ({
  what: `VM ${vmid} cannot be the clone that proves the template`,
  where: "proofVmid",
  todo: `choose one between ${first} and ${last} that is not the template's`,
});
