import { UserError } from "../../runtime/errors.ts";
import type { Proxmox } from "./client.ts";
import { proveVm, type ExpectedVm } from "./identity.ts";
import { vmTags } from "../../domain/model/formats.ts";
import { isOurTag, tagsChange, tagsOf, uidTagsIn, type NodeTags } from "./tags.ts";
import { vmPath, type VmConfig } from "./vms.ts";

/*
 * Tags on VMs that exist: ours on an adopted one, written when it is adopted and removed when it has left the cluster,
 * and those of the configuration. Each change proves the VM's identity right before, and sends the digest of that proof
 * with the write.
 */

/** @throws IdentityError, or UserError when the VM carries tags of ours with other values */
export async function proveUnmarked(pve: Proxmox, host: string, expected: ExpectedVm, as: NodeTags): Promise<VmConfig> {
  const config = await proveVm(pve, host, expected);
  // The tags of a member, and of its cluster's uid, say of nobody whose the VM is.
  const ours = [...tagsOf(as), vmTags.member, ...uidTagsIn(config.tags)];
  const strange = config.tags.filter((tag) => isOurTag(tag) && !ours.includes(tag));
  if (strange.length > 0)
    throw new UserError({
      what: `VM ${config.vmid} (${config.name}) has tags of ours already: ${strange.join(", ")}`,
      where: `host ${config.host}`,
      todo: "take them off in Proxmox VE if nobody else manages that VM, then run again",
    });
  return config;
}

/** Adds our tags to the VM; other tags stay. @throws as `proveUnmarked` */
export async function mark(pve: Proxmox, host: string, expected: ExpectedVm, as: NodeTags): Promise<void> {
  const config = await proveUnmarked(pve, host, expected, as);
  const tags = [...new Set([...config.tags, ...tagsOf(as)])];
  await pve.put(`${vmPath(config)}/config`, { tags: tags.join(";"), digest: config.digest });
}

/** Removes our tags; other tags stay. */
export async function unmark(pve: Proxmox, host: string, expected: ExpectedVm): Promise<void> {
  const config = await proveVm(pve, host, expected);
  const others = config.tags.filter((tag) => !isOurTag(tag));
  if (others.length === config.tags.length) return;
  await pve.put(`${vmPath(config)}/config`, { ...tagsChange(others), digest: config.digest });
}

/** Adds tags of the configuration, and removes others; what it does not name stays. */
export async function setTags(
  pve: Proxmox,
  host: string,
  expected: ExpectedVm,
  { add, remove }: { add: readonly string[]; remove: readonly string[] },
): Promise<void> {
  const config = await proveVm(pve, host, expected);
  const tags = [...new Set([...config.tags.filter((tag) => !remove.includes(tag)), ...add])];
  await pve.put(`${vmPath(config)}/config`, { tags: tags.join(";"), digest: config.digest });
}
