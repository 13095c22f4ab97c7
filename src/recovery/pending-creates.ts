import { Deadline } from "../runtime/deadline.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { destroyVm } from "../clients/proxmox/destroy.ts";
import { silentHostOf } from "../clients/proxmox/errors.ts";
import { isTaskRunning } from "../clients/proxmox/task.ts";
import { hasMemberTag } from "../clients/proxmox/tags.ts";
import { isRunning, listVms, readVm, findTaken, type ListedVm } from "../clients/proxmox/vms.ts";
import { parseNodeName } from "../domain/model/generation.ts";
import type { ExclusiveUse } from "./exclusive-use.ts";
import { VM_TYPE, type KnownVm, type PendingCreate } from "./engine-state.ts";
import type { OpenStack } from "../observe/open-stack.ts";

const cloneSeconds = 600;
const destroySeconds = 300;

/** The result for a create that never ended. */
export interface UndoneCreate {
  urn: string;
  /** What was done, for the operator. */
  how: string;
  /** The provider's id of the VM that it made, which is to be imported into the state. */
  id?: string;
  /** What it made exists, or may exist, and its owner is not known yet: the engine must not forget the create. */
  left?: true;
  /** Its VM was destroyed just now: it is gone for certain, also where no cluster answers yet. */
  destroyed?: true;
}

/**
 * Removes the clone of a pending create, if it is provably that clone, and it was never started as a node: the record calls
 * one that has a vote in etcd already `made` until its Node is Ready.
 */
export async function undoCreate(
  site: OpenStack,
  create: PendingCreate,
  fence: Pick<ExclusiveUse, "check">,
): Promise<UndoneCreate> {
  return await undo(site, create, fence).catch((error: unknown) => {
    const silent = silentHostOf(error);
    if (silent === undefined) throw error;
    const how = `left alone: the Proxmox host ${silent} does not answer; repair again when it does`;
    return { urn: create.urn, how, left: true };
  });
}

async function undo(
  site: OpenStack,
  { urn, type, inputs }: PendingCreate,
  fence: Pick<ExclusiveUse, "check">,
): Promise<UndoneCreate> {
  if (type !== VM_TYPE) return { urn, how: "its step runs again with the next update" };
  const { name, vmId: vmid, clone } = inputs as { name?: string; vmId?: number; clone?: { nodeName?: string } };
  if (vmid === undefined || name === undefined) return { urn, how: "it has made no VM" };
  const found = await awaitClone(site, { name, vmid, from: clone?.nodeName });
  if (found === "free") return { urn, how: "it has made no VM" };
  if (found === "hidden") return { urn, how: hiddenWords(vmid, name, site.config.site.proxmoxPool) };
  const { pve, config, observed } = site;
  const actual = await readVm(pve, found);
  const nodes = [...observed.records.values()].flatMap((record) => record.nodes);
  const claimed = nodes.find((node) => node.uuid === actual.uuid && node.name === name && node.vmid === vmid);
  // Only claimed: it is this create's clone, and it never got join data. With kept data it is a decommissioned node
  // that is reused.
  const remembered =
    (claimed?.phase !== "made" || claimed.keeps !== undefined) &&
    nodes.some((node) => node.uuid === actual.uuid || (node.vmid === vmid && node.phase !== "retired"));
  // A member with this name may be another VM; a Node that has not reported its uuid yet could be this VM's.
  const member = observed.nodes.some((node) => node.name === name && (node.uuid === "" || node.uuid === actual.uuid));
  const ours = actual.name === name && !actual.template && parseNodeName(name, config.cluster) !== undefined;
  if (!ours || found.pool !== config.site.proxmoxPool)
    return { urn, how: `left alone: VM ${vmid} is ${actual.name || "without a name"}, not ${name}` };
  // The list shows the status of a clone as unknown until Proxmox has polled it once.
  // Started as a node: it may be a voter of etcd that has no Node yet, or a member of another cluster that knows it.
  const wasStarted = hasMemberTag(actual.tags);
  if (remembered || member || wasStarted || (await isRunning(pve, found))) {
    if (claimed)
      return { urn, how: `VM ${vmid} (${name}) is ours: the engine is to know it`, id: `${found.host}/${vmid}` };
    const how = `left alone: VM ${vmid} (${name}) runs or was a member, and nobody recorded its SMBIOS uuid; look at its console, then turn it off, or destroy it by hand`;
    return { urn, how, left: true };
  }
  // The wait for the clone may have been long: by now another run may own it.
  await fence.check();
  await destroyVm(pve, found.host, { vmid, name, uuid: actual.uuid, tags: [] });
  return { urn, how: `destroyed the incomplete VM ${vmid} (${name})`, destroyed: true };
}

/**
 * The create of an invisible VM is forgotten: if the VM is not Evergreen's, the create would stay pending permanently.
 * If it is the clone, it is found by its name later (untracked-clones.ts).
 */
function hiddenWords(vmid: number, name: string, pool: string): string {
  return `left alone: VM ${vmid} is out of the token's sight, and the next update steps over it. If it is the clone (${name}), put it into the Proxmox pool ${pool} and repair again`;
}

/**
 * The VM of a clone, once no task works on it any more: Proxmox finishes a task whose client has died, and shows the VM
 * to the token only when it is in the pool.
 * @param from host of the template, on which the clone runs; undefined: any host that holds templates. Hosts that need
 *   not be asked may be silent
 */
async function awaitClone(
  { pve, observed }: OpenStack,
  { name, vmid, from }: { name: string; vmid: number; from: string | undefined },
): Promise<ListedVm | "free" | "hidden"> {
  let waits = "";
  const templateHosts = [...observed.images.values()].flatMap(({ templates }) => templates.map(({ host }) => host));
  const hosts = from === undefined ? templateHosts : [from];
  const find = async () => (await listVms(pve)).find((one) => one.vmid === vmid);
  const deadline = new Deadline(`the clone of VM ${vmid} (${name}) to end`, cloneSeconds);
  return await deadline.poll(
    500,
    async () => {
      const seen = await find();
      const cloning = seen === undefined && (await isTaskRunning(pve, hosts, "qmclone"));
      // Listed again: a clone that has ended in between is then in the list.
      const vm = seen ?? (await find());
      if (vm) {
        const { lock } = await readVm(pve, vm);
        waits = `VM ${vmid} is locked (${lock ?? ""})`;
        return lock === undefined ? vm : undefined;
      }
      waits = "a clone task of this token still runs";
      if (cloning) return undefined;
      return (await findTaken(pve, [vmid])).length > 0 ? "hidden" : "free";
    },
    () => waits,
  );
}

/**
 * Waits until no task destroys these VMs any more: Proxmox finishes a task whose client has died, and a second destroy
 * task for the same VM fails.
 */
export async function awaitDestroys(pve: Proxmox, deleting: readonly Pick<KnownVm, "name" | "vmid">[]): Promise<void> {
  if (deleting.length === 0) return;
  const names = deleting.map(({ name, vmid }) => `VM ${vmid} (${name})`).join(", ");
  await new Deadline(`the destruction of ${names} to end`, destroySeconds).poll(500, async () => {
    const left = (await listVms(pve)).filter(({ vmid }) => deleting.some((vm) => vm.vmid === vmid));
    if (left.length === 0) return true;
    const hosts = left.map(({ host }) => host);
    return (await isAnyTaskRunning(pve, hosts)) ? undefined : true;
  });
}

/** Tasks on a host that does not answer are not waited for: the next repair checks again. */
async function isAnyTaskRunning(pve: Proxmox, hosts: readonly string[]): Promise<boolean> {
  const running = hosts.map((host) =>
    isTaskRunning(pve, [host], "qmdestroy").catch((error: unknown) => {
      if (silentHostOf(error) === undefined) throw error;
      return false;
    }),
  );
  return (await Promise.all(running)).includes(true);
}
