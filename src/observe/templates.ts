import { UserErrors, type Problem } from "../runtime/errors.ts";
import { hostOf, templateOf, type ObservedCluster } from "./observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { neededForCards, permissionProblems, readRights } from "../clients/proxmox/permissions.ts";
import { Row } from "../clients/proxmox/parse.ts";
import type { Placement } from "../config/placement.ts";
import { hardwareOf } from "../domain/images/hardware.ts";
import { cloneHardware, type TemplateHardware } from "../domain/model/hardware.ts";
import { templateFaults } from "../domain/images/template.ts";
import type { NodeSpec, SlotPlan } from "../domain/model/types.ts";

/** What clones keep of their templates, by the template's VMID. */
export type Templates = ReadonlyMap<number, TemplateHardware>;

/** A VM that a run makes. */
export interface Clone {
  spec: NodeSpec;
  template: { vmid: number; host: string };
  placement: Pick<Placement, "storage" | "fullClones">;
}

/** @param hosts hosts that new VMs are made on */
export function clonesOf(
  observed: ObservedCluster,
  hosts: readonly string[],
  { placement, made }: { placement: Clone["placement"]; made: readonly SlotPlan[] },
): Clone[] {
  return made.map(({ generation: { spec }, ...slot }) => ({
    spec,
    placement,
    template: templateOf(observed, spec.image, hostOf(observed, hosts, slot)),
  }));
}

/**
 * Reads what clones keep of their templates. Only the templates that this run clones are read: an older template is not
 * needed any more.
 * @throws UserErrors that names what a clone would lose, or what would fail
 */
export async function readTemplates(pve: Proxmox, clones: readonly Clone[]): Promise<Templates> {
  const problems: Problem[] = [];
  const byTemplate = Map.groupBy(clones, ({ template }) => template.vmid);
  const read = [...byTemplate].map(async ([vmid, alike]): Promise<[number, TemplateHardware][]> => {
    const [first] = alike;
    if (first === undefined) return [];
    const { spec, template } = first;
    const path = `/nodes/${template.host}/qemu/${vmid}/config`;
    const options = new Row(await pve.get(path), path).texts();
    const where = `template ${spec.image}, VM ${vmid} on ${template.host}`;
    const wanted = alike.map((clone) => ({ ...clone.spec, ...clone.placement }));
    problems.push(...templateFaults(options, vmid, wanted).map((fault) => ({ ...fault, where })));
    return [[vmid, hardwareOf(options)]];
  });
  const found = await Promise.all(read);
  if (problems.length > 0) throw new UserErrors(problems);
  return new Map(found.flat());
}

/**
 * Checks that the token may connect clones to their networks, as far as these are those of their templates.
 * @param bridge of the configuration, for the first card of a clone whose networks are not configured
 * @throws UserErrors that names each network that it may not use
 */
export async function requireNetworks(
  pve: Proxmox,
  templates: Templates,
  clones: readonly Clone[],
  bridge: string,
): Promise<void> {
  const cards = clones.flatMap(({ spec, template }) => {
    const hardware = templates.get(template.vmid) ?? {};
    // Proxmox asks for the networks of the template when it is cloned, and for those of the clone afterwards.
    return [...(hardware.networks ?? []), ...cloneHardware(hardware, spec.hardware ?? {}, bridge).networks];
  });
  const needs = neededForCards(cards);
  // The right on the bridge of the configuration was checked at the start.
  if (needs.every(({ path }) => path.endsWith(`/${bridge}`))) return;
  const problems = permissionProblems(await readRights(pve), needs);
  if (problems.length > 0) throw new UserErrors(problems);
}
