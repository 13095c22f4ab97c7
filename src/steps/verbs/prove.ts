import { imageOf } from "../../domain/images/bake.ts";
import type { ProofOrder } from "../../domain/images/proof.ts";
import type { SigningKey } from "../../evidence/bundle.ts";
import type { StepContext } from "../context.ts";
import { proveTemplate } from "../image/prove.ts";
import type { Baked } from "./bake.ts";

/** A template that was proved. */
export interface ProvedImage extends Baked {
  /** Digest of its record. */
  record: string;
}

/** Proves the template of a bake, and writes its record. A template with a good record of ours is not proved again. */
export async function prove(
  { pve, stop }: Pick<StepContext, "pve" | "stop">,
  order: ProofOrder,
  key: SigningKey | undefined,
): Promise<ProvedImage> {
  const proved = await proveTemplate({ pve, order, stop }, key);
  const { bake, uuid } = order;
  return { image: imageOf(bake), vmid: bake.vmid, uuid, ...proved };
}
