import { readBakeVmWhole } from "../clients/proxmox/bake-vm.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { silentHostOf } from "../clients/proxmox/errors.ts";
import type { ListedVm } from "../clients/proxmox/vms.ts";
import type { StackBake } from "../config/bake-order.ts";
import type { Config } from "../config/config.ts";
import { imageOf, rke2OfTemplate } from "../domain/images/bake.ts";
import type { ImageState } from "../domain/images/bake-plan.ts";
import { nextStep } from "../domain/images/bake-step.ts";
import { UserErrors, type Problem } from "../runtime/errors.ts";
import type { Image } from "./observed-cluster.ts";

/** An image that the stack bakes itself, as it is found. */
export interface ObservedBake extends StackBake {
  state: ImageState;
}

/**
 * Looks at the images that the stack bakes itself.
 * @param list all VMs that the token can see
 * @param now by the cluster's clock
 * @throws UserErrors that names each image whose place another VM has, and each that is another image by now
 */
export async function observeBakes(
  pve: Proxmox,
  config: Config,
  list: readonly ListedVm[],
  now: Date,
): Promise<ObservedBake[]> {
  const { images } = config;
  if (images?.bakes === undefined) return [];
  // Loading what reads definitions takes longer than a look at most clusters.
  const { stackBakes } = await import("../config/bake-order.ts");
  const problems: Problem[] = [];
  const found = stackBakes(config, process.cwd()).map(async (own): Promise<ObservedBake> => {
    const seen = await observeBake(pve, own, { list, images, now });
    if (typeof seen === "string") return { ...own, state: seen };
    problems.push(seen);
    return { ...own, state: "missing" };
  });
  const bakes = await Promise.all(found);
  if (problems.length > 0) throw new UserErrors(problems);
  return bakes;
}

async function observeBake(
  pve: Proxmox,
  { bake }: StackBake,
  { list, images, now }: { list: readonly ListedVm[]; images: NonNullable<Config["images"]>; now: Date },
): Promise<ImageState | Problem> {
  const { vmid, place } = bake;
  const image = imageOf(bake);
  const listed = list.find((vm) => vm.vmid === vmid);
  const twin = list.find((vm) => vm.vmid !== vmid && vm.host === place.host && vm.name === image);
  const more = { ...(twin && { twin }), cds: [], hasBase: true };
  try {
    const read = listed && (await readBakeVmWhole(pve, listed));
    const step = nextStep(bake, { ...(read && { vm: read.vm }), ...more });
    if (step.do === "refuse") return step.problem;
    if (step.do !== "done" || read === undefined) return "missing";
    // Loading what checks signatures takes longer than all other checks together.
    const { readRecordState } = await import("./image-trust.ts");
    const template = { image, vmid, host: read.vm.host, options: read.options };
    const question = { images, project: process.cwd(), now };
    return await readRecordState(template, bake.definition, question);
  } catch (error) {
    if (silentHostOf(error) === undefined) throw error;
    return "silent";
  }
}

/** The templates of a site with those that this stack still has to bake, as they will be. */
export function withBakes(images: ReadonlyMap<string, Image>, bakes: readonly ObservedBake[]): Map<string, Image> {
  const found = new Map(images);
  for (const { bake, state } of bakes) {
    if (state !== "missing") continue;
    const name = imageOf(bake);
    const { vmid, place } = bake;
    const others = (found.get(name)?.templates ?? []).filter((template) => template.vmid !== vmid);
    found.set(name, { name, rke2: rke2OfTemplate(bake), templates: [...others, { vmid, host: place.host }] });
  }
  return found;
}
