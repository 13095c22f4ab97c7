import { UserErrors } from "../runtime/errors.ts";
import { hostOf, templateOf, type ObservedCluster } from "./observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { Row } from "../clients/proxmox/parse.ts";
import { templateFaults } from "../domain/images/template.ts";
import type { SlotPlan } from "../domain/model/types.ts";

/**
 * Checks that clones get everything that their templates have. Only the templates that this run clones are read: an
 * older template is not needed any more.
 * @param hosts hosts that new VMs are made on
 * @throws UserErrors that names what a clone would lose, or what would fail
 */
export async function checkTemplates(
  pve: Proxmox,
  observed: ObservedCluster,
  hosts: readonly string[],
  made: readonly SlotPlan[],
): Promise<void> {
  const clones = made.map(({ generation: { spec }, ...slot }) => ({
    image: spec.image,
    diskGiB: spec.diskGiB,
    template: templateOf(observed, spec.image, hostOf(observed, hosts, slot)),
  }));
  const problems = await Promise.all(
    [...Map.groupBy(clones, ({ template }) => template.vmid).values()].map(async (alike) => {
      const [first] = alike;
      if (first === undefined) return [];
      const { image, template } = first;
      const path = `/nodes/${template.host}/qemu/${template.vmid}/config`;
      const options = new Row(await pve.get(path), path).texts();
      const diskGiB = Math.min(...alike.map((clone) => clone.diskGiB));
      const where = `template ${image}, VM ${template.vmid} on ${template.host}`;
      return templateFaults(options, template.vmid, diskGiB).map((fault) => ({ ...fault, where }));
    }),
  );
  if (problems.flat().length > 0) throw new UserErrors(problems.flat());
}
