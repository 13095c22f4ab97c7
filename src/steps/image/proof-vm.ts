/** The clone that proves a template: made anew by each run, and gone afterwards. */
import { destroyVm } from "../../clients/proxmox/destroy.ts";
import { ProxmoxError } from "../../clients/proxmox/errors.ts";
import { awaitUnlocked } from "../../clients/proxmox/settle.ts";
import { stopVm, turnOff, start, type ProvedVm } from "../../clients/proxmox/power.ts";
import { awaitTask, isTaskOfVmRunning, TaskError } from "../../clients/proxmox/task.ts";
import { findTaken, isRunning, listVms, readConfig, readVm, vmConfigOf, vmPath } from "../../clients/proxmox/vms.ts";
import type { Proxmox } from "../../clients/proxmox/client.ts";
import { BAKE_TAGS, imageOf } from "../../domain/images/bake.ts";
import { isOwnClone, PROOF_SECONDS, proofNameOf, proofNote, type ProofOrder } from "../../domain/images/proof.ts";
import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";

/** What a proof works with. */
export interface Proving {
  pve: Proxmox;
  order: ProofOrder;
  stop: AbortSignal;
}

/** How often a clone is stopped and destroyed: the start of a run that was killed may only now have its effect. */
const MOST_TRIES = 3;

/**
 * Removes the clone that an earlier run left.
 * @throws UserError when the VMID is that of another VM: nothing was done to it
 */
export async function removeClone(proving: Proving): Promise<void> {
  for (let tries = 1; ; tries += 1)
    try {
      await removeOnce(proving);
      return;
    } catch (error) {
      const isRefused = error instanceof ProxmoxError || error instanceof TaskError;
      if (!isRefused || tries === MOST_TRIES) throw error;
    }
}

async function removeOnce({ pve, order, stop }: Proving): Promise<void> {
  await awaitClone({ pve, order, stop });
  const { vmid } = order;
  const listed = (await listVms(pve)).find((vm) => vm.vmid === vmid);
  if (listed === undefined) {
    if ((await findTaken(pve, [vmid])).length > 0) throw taken(order, "which the token of bakes does not see");
    return;
  }
  const row = await readConfig(pve, listed);
  const config = vmConfigOf(row, listed);
  const { name, uuid, template } = config;
  if (template || !isOwnClone(order, row.maybeText("description") ?? "") || name !== proofNameOf(order))
    throw taken(order, `"${name}", which is none of this proof`);
  const expected = { vmid, name, uuid, tags: [] };
  const deadline = new Deadline(`Proxmox to unlock ${name}`, PROOF_SECONDS.change, stop);
  const { host } = await awaitUnlocked(pve, config, expected, deadline);
  if (await isRunning(pve, { host, vmid })) await stopVm(pve, { vmid, host, name, uuid }, { stop });
  await destroyVm(pve, host, expected);
}

/** A run that was killed may have left a clone that Proxmox still makes. */
async function awaitClone({ pve, order: { vmid, bake }, stop }: Proving): Promise<void> {
  const deadline = new Deadline(`Proxmox to end what it does to VM ${vmid}`, PROOF_SECONDS.clone, stop);
  await deadline.poll(2000, async () => {
    const isMade = await isTaskOfVmRunning(pve, { host: bake.place.host, vmid: bake.vmid }, "qmclone");
    return isMade ? undefined : true;
  });
}

function taken({ vmid, bake }: ProofOrder, what: string): UserError {
  return new UserError({
    what: `VM ${vmid} is for the proof of ${imageOf(bake)}, and another VM has that VMID, ${what}`,
    where: `VM ${vmid}`,
    todo: "nothing was done to it. Move it, or give bakes other VMIDs",
  });
}

/** Clones the template and starts the clone, as a node would be. */
export async function makeClone({ pve, order, stop }: Proving): Promise<ProvedVm> {
  const { vmid, bake } = order;
  const { host, pool, storage, bridge, vlan, address } = bake.place;
  const name = proofNameOf(order);
  const clone = { newid: vmid, name, pool, full: false, description: proofNote(order) };
  const upid = await pve.post(`/nodes/${host}/qemu/${bake.vmid}/clone`, clone);
  await awaitTask(pve, upid, new Deadline(`the clone of ${imageOf(bake)}`, PROOF_SECONDS.clone, stop));
  const { uuid } = await readVm(pve, { host, vmid });
  const vm: ProvedVm = { vmid, host, name, uuid };
  await pve.put(`${vmPath(vm)}/config`, {
    // The template's tags would make it an image, or a node.
    tags: BAKE_TAGS.join(";"),
    cores: bake.place.cores,
    memory: bake.place.memoryMiB,
    net0: `virtio,bridge=${bridge}${vlan === undefined ? "" : `,tag=${vlan}`}`,
    ide2: `${storage}:cloudinit`,
    ipconfig0: address === undefined ? "ip=dhcp" : `ip=${address.cidr},gw=${address.gateway}`,
  });
  await start(pve, vm, stop);
  return vm;
}

/** Turns the clone off and on. */
export async function startCloneAgain({ pve, stop }: Proving, vm: ProvedVm): Promise<void> {
  await turnOff(pve, vm, PROOF_SECONDS.shutdown, stop);
  await start(pve, vm, stop);
}
