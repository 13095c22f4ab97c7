import { Provider } from "@muhlba91/pulumi-proxmoxve/provider.js";
import type { local } from "@pulumi/command";
import { ComponentResource, type ComponentResourceOptions } from "@pulumi/pulumi";
import { imageOf } from "../src/domain/images/bake.ts";
import { typeTokens } from "../src/domain/model/formats.ts";
import type { PlannedImage } from "../src/domain/rollout/planned.ts";
import { bakeSteps } from "./bake-steps.ts";

/** The provider of this program that downloads base images. */
let baking: Provider | undefined;

/**
 * The provider with the token of bakes: the one for nodes may download nothing. The token stays in the environment, and comes
 * into no state.
 */
function bakeProvider(): Provider {
  baking ??= new Provider(
    "evergreen-bakes",
    {},
    { envVarMappings: { EVERGREEN_BAKE_API_TOKEN: "PROXMOX_VE_API_TOKEN" } },
  );
  return baking;
}

/**
 * An image that the stack bakes itself, as planned. Its resources have the names and the parent that those of a
 * `GoldenImage` have. None of them is removed from Proxmox with its resource.
 */
class StackImage extends ComponentResource {
  readonly proved: local.Command;

  constructor({ order, dueSince }: PlannedImage, after: local.Command[], options: ComponentResourceOptions) {
    const { onHost } = order.bake;
    const image = imageOf(order.bake);
    const name = onHost === undefined ? image : `${image}-${onHost}`;
    super(typeTokens.goldenImage, name, {}, options);
    const due = dueSince === undefined ? {} : { dueSince };
    this.proved = bakeSteps({ name, order, after, keeps: true, ...due }, { parent: this, provider: bakeProvider() });
    this.registerOutputs({});
  }
}

/** Declares the images that a stack bakes itself. @returns their proofs, after which nodes may be made of them */
export function declareImages(
  images: readonly PlannedImage[],
  options: Pick<ComponentResourceOptions, "parent"> = {},
): local.Command[] {
  const proofs: { image: string; proved: local.Command }[] = [];
  for (const planned of images) {
    const { bake } = planned.order;
    const image = imageOf(bake);
    // Guests with one fixed address cannot bake at the same time. A template on another host comes once the first is proved.
    const before = bake.place.address === undefined ? proofs.filter((one) => one.image === image) : proofs;
    const after = before.slice(-1).map(({ proved }) => proved);
    proofs.push({ image, proved: new StackImage(planned, after, options).proved });
  }
  return proofs.map(({ proved }) => proved);
}
