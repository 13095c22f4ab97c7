import type { Config } from "../config/config.ts";
import { placementsOf } from "../config/placement.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { readGivenTags, writeGivenTags } from "../clients/kubernetes/cluster-record.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { ProxmoxError } from "../clients/proxmox/errors.ts";
import { IdentityError } from "../clients/proxmox/identity.ts";
import { setTags } from "../clients/proxmox/marks.ts";
import { tagsOf, uidTag } from "../clients/proxmox/tags.ts";
import { listVms } from "../clients/proxmox/vms.ts";
import { vmTags } from "../domain/model/formats.ts";
import { isAdopted } from "../domain/model/generation.ts";
import type { ObservedVm } from "../domain/model/types.ts";
import { hasJoined } from "../domain/rollout/slot-state.ts";
import type { ObservedCluster } from "./observed-cluster.ts";

/** What the VMs of a pool get and lose. */
interface Change {
  pool: string;
  add: readonly string[];
  remove: readonly string[];
}

/**
 * Gives existing VMs the tags of the configuration, and takes off those that an earlier configuration had. What people
 * added by hand stays. Which tags came from a configuration is remembered in the cluster: first all that a VM may have,
 * then, when every VM has its own, those alone.
 * @param isPreview nothing is changed
 * @returns a line for each VM that gets other tags
 */
export async function setTagsOfVms(
  pve: Proxmox,
  kubernetes: Kubernetes,
  config: Config,
  observed: Pick<ObservedCluster, "vms" | "records">,
  isPreview: boolean,
): Promise<string[]> {
  const lines: string[] = [];
  for (const { pool, tags } of placementsOf(config)) {
    const given = await readGivenTags(kubernetes, pool);
    if (given === undefined && tags.length === 0) continue;
    const change = { pool, add: tags, remove: (given ?? []).filter((tag) => !tags.includes(tag)) };
    const [all, wanted] = [[...change.remove, ...tags].sort().join(), tags.join()];
    if (!isPreview && given?.join() !== all) await writeGivenTags(kubernetes, pool, all.split(",").filter(Boolean));
    const { said, isWhole } = await setTagsOfPool(pve, config.cluster, observed, { change, isPreview });
    lines.push(...said);
    if (!isPreview && isWhole && all !== wanted) await writeGivenTags(kubernetes, pool, tags);
  }
  return lines;
}

/**
 * Gives members the tags that they lack because an earlier version has started them: that of a member, which one that was
 * adopted needs not, and that of their cluster's uid.
 * @param isPreview nothing is changed
 * @returns what is to be said of that
 */
export async function setMemberTags(
  pve: Proxmox,
  cluster: string,
  { vms, records, uid }: Pick<ObservedCluster, "vms" | "records" | "uid">,
  isPreview: boolean,
): Promise<string[]> {
  const joined = new Map(
    [...records.values()].flatMap(({ nodes }) => nodes.filter(hasJoined).map(({ name, uuid }) => [name, uuid])),
  );
  const owed = (vm: ObservedVm): string[] => [
    ...(vm.lacksMemberTag && !isAdopted(vm) ? [vmTags.member] : []),
    ...(uid !== undefined && vm.uidTag === undefined ? [uidTag(uid)] : []),
  ];
  const lacking = vms
    .filter((vm) => vm.unreachable === undefined && joined.get(vm.name) === vm.uuid)
    .map((vm) => ({ vm, add: owed(vm) }))
    .filter(({ add }) => add.length > 0);
  const failures = lacking.map(async ({ vm, add }) => {
    const failure = isPreview ? undefined : await setTagsOfOne(pve, cluster, vm, { add, remove: [], uuid: vm.uuid });
    return failure === undefined ? [] : [`${vm.name} (VM ${vm.vmid}) does not get it now: ${failure}`];
  });
  const given = Map.groupBy(
    lacking.flatMap(({ add }) => add),
    (tag) => tag,
  );
  const said = [...given].map(([tag, { length }]) => {
    const why = tag === vmTags.member ? toldOfMember : toldOfUid;
    return `${length === 1 ? "1 VM gets" : `${length} VMs get`} the tag ${tag}: ${why}`;
  });
  return [...said, ...(await Promise.all(failures)).flat()];
}

const toldOfMember = "it tells of the cluster when no server answers";
const toldOfUid = "it tells the cluster from another one of its name";

async function setTagsOfPool(
  pve: Proxmox,
  cluster: string,
  { vms, records }: Pick<ObservedCluster, "vms" | "records">,
  { change, isPreview }: { change: Change; isPreview: boolean },
): Promise<{ said: string[]; isWhole: boolean }> {
  const { pool, add, remove } = change;
  const listed = new Map((await listVms(pve)).map((vm) => [vm.vmid, vm.tags]));
  const known = new Map(records.get(pool)?.nodes.map((record) => [record.name, record.uuid]));
  const said: string[] = [];
  let isWhole = true;
  for (const vm of vms.filter((one) => one.pool === pool)) {
    const has = listed.get(vm.vmid) ?? [];
    const [gets, loses] = [add.filter((tag) => !has.includes(tag)), remove.filter((tag) => has.includes(tag))];
    if (gets.length + loses.length === 0) continue;
    const what = [...gets.map((tag) => `+${tag}`), ...loses.map((tag) => `-${tag}`)].join(", ");
    const failure =
      vm.unreachable ??
      (isPreview ? undefined : await setTagsOfOne(pve, cluster, vm, { ...change, uuid: known.get(vm.name) }));
    if (failure !== undefined) isWhole = false;
    const outcome = failure === undefined ? "" : `, not now: ${failure}; the next update tries again`;
    said.push(`${vm.name} (VM ${vm.vmid}) gets its tags: ${what}${outcome}`);
  }
  return { said, isWhole };
}

/** @returns why it could not be done now */
async function setTagsOfOne(
  pve: Proxmox,
  cluster: string,
  { vmid, name, host, pool, slot, generation }: ObservedVm,
  { add, remove, uuid }: Pick<Change, "add" | "remove"> & { uuid: string | undefined },
): Promise<string | undefined> {
  if (uuid === undefined) return "nobody has recorded whose it is";
  try {
    const tags = tagsOf({ cluster, pool, slot, generation });
    await setTags(pve, host, { vmid, name, uuid, tags }, { add, remove });
    return undefined;
  } catch (error) {
    // A VM that is locked, or whose configuration has just changed.
    if (error instanceof ProxmoxError) return error.message;
    // A clone that no run has claimed has the name of a retired node, of the same content. Steps prove what they need.
    if (error instanceof IdentityError) return error.differences.join("; ");
    throw error;
  }
}
