import { imageOf, notedBake, type BakeOrder } from "../../domain/images/bake.ts";
import type { StepContext } from "../context.ts";
import { runBake } from "../image/run.ts";
import { readSeed } from "../image/seed.ts";

/** The template that a bake has made. */
export interface Baked {
  image: string;
  /** Digest of the image: with that of the scripts which have baked it. */
  digest: string;
  vmid: number;
  host: string;
  /** SMBIOS uuid of the template. */
  uuid: string;
}

/**
 * Bakes a template: a VM of the base image that makes itself what the definition says, is sealed, and becomes a template.
 * A template, or an unfinished bake, of the same image is taken up; of another one it is refused.
 */
export async function bake({ pve, stop }: Pick<StepContext, "pve" | "stop">, order: BakeOrder): Promise<Baked> {
  const { host, uuid, notes } = await runBake({ pve, order, stop, cd: readSeed(order) });
  const { digest } = notedBake(notes) ?? order;
  return { image: imageOf(order), digest, vmid: order.vmid, host, uuid };
}

/**
 * What the steps of an image say when the run has nothing to do with it, and the state of the engine does not have them yet:
 * the template was there before, and whoever clones it has its record checked. The uuid is not known.
 */
export function bakedBefore(order: BakeOrder): Baked {
  const { digest, vmid, place } = order;
  return { image: imageOf(order), digest, vmid, host: place.host, uuid: "" };
}
