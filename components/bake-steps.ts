import { File } from "@muhlba91/pulumi-proxmoxve/download/file.js";
import type { local } from "@pulumi/command";
import {
  runtime,
  type ComponentResource,
  type CustomResourceOptions,
  type Output,
  type ProviderResource,
  type Resource,
} from "@pulumi/pulumi";
import { baseFileIn, imageOf, type BakeOrder } from "../src/domain/images/bake.ts";
import { longestBake } from "../src/domain/images/bake-waits.ts";
import { longestProof, type ProofOrder } from "../src/domain/images/proof.ts";
import { NOTHING_DUE, variables } from "../src/domain/model/step-environment.ts";
import { step } from "./step.ts";

/** What a golden image declares. The uuid of the template is known once it is baked. */
export interface BakeStepsArgs {
  /** Name of the resources. @default that of the image */
  name?: string;
  order: Omit<ProofOrder, "uuid">;
  signingKey?: Output<string>;
  /** What else the bake comes after. @default nothing */
  after?: Resource[];
  /**
   * The plan of the run says what is to be done: nothing, unless `dueSince` says since when it is. The base image stays in
   * its storage when the resource goes.
   * @default the steps run when they are new or their order changes
   */
  keeps?: true;
  dueSince?: string;
}

/** Declares a base image, the bake of it, and the proof after it. @returns the proof */
export function bakeSteps(
  { order, name = imageOf(order.bake), signingKey, after = [], keeps, dueSince }: BakeStepsArgs,
  { parent, provider }: { parent: ComponentResource; provider?: ProviderResource },
): local.Command {
  const { bake } = order;
  const options = { ...(provider && { provider }), ...(keeps && { retainOnDelete: true }) };
  const due: Record<string, string> = keeps ? { [variables.due]: dueSince ?? NOTHING_DUE } : {};
  const frozen = keeps && dueSince === undefined ? { frozen: true as const } : {};
  const baked = step(
    { name, verb: "bake", limits: { update: longestBake() }, ...frozen },
    { [variables.bake]: JSON.stringify(bake), ...due },
    { parent, dependsOn: [baseImage(bake, { ...options, dependsOn: after }), ...after] },
  );
  const uuid = baked.stdout.apply((said) => (JSON.parse(said) as { uuid: string }).uuid);
  return step(
    { name: `${name}-proof`, verb: "prove", limits: { update: longestProof(bake) }, ...frozen },
    {
      // Another template is proved anew.
      [variables.proof]: uuid.apply((its) => JSON.stringify({ ...order, uuid: its } satisfies ProofOrder)),
      ...(signingKey === undefined ? {} : { [variables.imageKey]: signingKey }),
      ...due,
    },
    { parent, dependsOn: [baked] },
  );
}

/** The base images of each stack of this process: several images may begin with the same one. */
const basesByStack = new WeakMap<Resource, Map<string, File>>();

function basesOfThisStack(): Map<string, File> {
  const stack = runtime.getStackResource();
  const known = (stack && basesByStack.get(stack)) ?? new Map<string, File>();
  if (stack) basesByStack.set(stack, known);
  return known;
}

/** The base image in the storage. A file that is there already counts when it has the right content. */
function baseImage({ definition, place, base }: BakeOrder, options: CustomResourceOptions): File {
  const fileName = baseFileIn({ base });
  const key = `${place.host}/${place.imageStorage}/${fileName}`;
  const bases = basesOfThisStack();
  const known = bases.get(key);
  if (known) return known;
  const file = new File(
    `base-${fileName}-${place.host}`,
    {
      contentType: "import",
      datastoreId: place.imageStorage,
      nodeName: place.host,
      fileName,
      url: definition.base.url,
      checksum: definition.base.sha256,
      checksumAlgorithm: "sha256",
      overwrite: false,
      uploadTimeout: 3600,
    },
    options,
  );
  bases.set(key, file);
  return file;
}
