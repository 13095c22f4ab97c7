import { Proxmox } from "../../clients/proxmox/client.ts";
import { imageOf, notedBake, type BakeOrder } from "../../domain/images/bake.ts";
import { UserError } from "../../runtime/errors.ts";
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

const FORM = /^\S+@\S+!\S+=[a-zA-Z0-9-]+$/;

/** The variable with the token of bakes, `USER@REALM!ID=UUID`. */
const TOKEN = "EVERGREEN_BAKE_API_TOKEN";

/**
 * The client with the token of bakes: that of rollouts may make no image, and that of bakes touches no node.
 * @throws UserError when the variable is missing or malformed
 */
export function connectToBake(environment: Record<string, string | undefined>): Proxmox {
  const token = environment[TOKEN] ?? "";
  if (!FORM.test(token))
    throw new UserError({
      what: token === "" ? `${TOKEN} is not set` : `${TOKEN} has not the form USER@REALM!ID=UUID`,
      where: "the environment: images are baked with a token of their own",
      todo: `export ${TOKEN}='USER@REALM!ID=UUID'; docs/production.md has its rights. For the stack dev, start its lab: npx evergreen lab up`,
    });
  return Proxmox.fromEnvironment({ ...environment, PROXMOX_VE_API_TOKEN: token });
}
