import { UserErrors, type Problem } from "../runtime/errors.ts";
import { hostOf, templateOf, type ObservedCluster } from "./observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { neededForCards, permissionProblems, readRights } from "../clients/proxmox/permissions.ts";
import { Row } from "../clients/proxmox/parse.ts";
import { hardwareOf } from "../domain/images/hardware.ts";
import type { TemplateHardware } from "../domain/model/hardware.ts";
import { templateFaults } from "../domain/images/template.ts";
import type { SlotPlan } from "../domain/model/types.ts";

/** What clones keep of their templates, by the template's VMID. */
export type Templates = ReadonlyMap<number, TemplateHardware>;

/**
 * Checks that the token may connect clones to the networks of their templates, beside that of the configuration.
 * @param bridge of the configuration, for the first card
 * @throws UserErrors that names each network that it may not use
 */
export async function requireNetworks(pve: Proxmox, templates: Templates, bridge: string): Promise<void> {
  const cards = [...templates.values()].flatMap(({ cards: [first, ...others] }) =>
    first === undefined ? [] : [first, { ...first, bridge }, ...others],
  );
  const needs = neededForCards(cards);
  // The rights on the bridge of the configuration were checked at the start.
  if (needs.every(({ path }) => path.endsWith(`/${bridge}`))) return;
  const problems = permissionProblems(await readRights(pve), needs);
  if (problems.length > 0) throw new UserErrors(problems);
}

/**
 * Reads what clones keep of their templates. Only the templates that this run clones are read: an older template is not
 * needed any more.
 * @param hosts hosts that new VMs are made on
 * @throws UserErrors that names what a clone would lose, or what would fail
 */
export async function readTemplates(
  pve: Proxmox,
  observed: ObservedCluster,
  hosts: readonly string[],
  made: readonly SlotPlan[],
): Promise<Templates> {
  const clones = made.map(({ generation: { spec }, ...slot }) => ({
    image: spec.image,
    size: { cores: spec.cores, diskGiB: spec.diskGiB },
    template: templateOf(observed, spec.image, hostOf(observed, hosts, slot)),
  }));
  const problems: Problem[] = [];
  const found = await Promise.all(
    [...Map.groupBy(clones, ({ template }) => template.vmid).values()].map(async (alike) => {
      const [first] = alike;
      if (first === undefined) return undefined;
      const { image, template } = first;
      const path = `/nodes/${template.host}/qemu/${template.vmid}/config`;
      const options = new Row(await pve.get(path), path).texts();
      const where = `template ${image}, VM ${template.vmid} on ${template.host}`;
      const sizes = alike.map(({ size }) => size);
      problems.push(...templateFaults(options, template.vmid, sizes).map((fault) => ({ ...fault, where })));
      return [template.vmid, hardwareOf(options)] as const;
    }),
  );
  if (problems.length > 0) throw new UserErrors(problems);
  return new Map(found.filter((one) => one !== undefined));
}
