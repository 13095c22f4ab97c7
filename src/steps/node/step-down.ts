import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import { guest } from "../../../images/contract.ts";
import { isAgentSilent, isNoSuchFile, readFile, withAgent, writeFile } from "../../clients/proxmox/agent.ts";
import type { ListedVm } from "../../clients/proxmox/vms.ts";
import type { StepContext } from "../context.ts";

/**
 * Tells a server to step down, and waits until its guest has done so: the registration address sends no new requests
 * there, and another member leads etcd. Without it an election costs a second or two of writes.
 * @param seconds longest wait
 */
export async function stepDown(context: StepContext, vm: ListedVm, seconds: number): Promise<void> {
  const name = vm.name ?? String(vm.vmid);
  await write(context, vm, context.id, context.stop);
  const deadline = new Deadline(`${name} to hand over what it leads`, seconds, context.stop);
  let said = "";
  await deadline.poll(
    250,
    async () => {
      said = await readCarriedOut(context, vm);
      return said === context.id ? true : undefined;
    },
    () =>
      `${guest.yielded} says ${said === "" ? "nothing" : said}: does the image have the unit that reads ${guest.yield}?`,
  );
  say(`${name} leads nothing any more and gets no new requests`);
}

/** Longest wait for a server that may lack the unit, in seconds: with the unit a server takes a few. */
const adoptedSeconds = 15;

/** Tells an adopted server to step down. It has no image of ours: where no unit carries that out, it leaves without. */
export async function stepDownAdopted(context: StepContext, vm: ListedVm): Promise<void> {
  try {
    await stepDown(context, vm, adoptedSeconds);
  } catch (error) {
    context.stop.throwIfAborted();
    if (!isNoSuchFile(error) && !(error instanceof DeadlineError)) throw error;
    say(`${vm.name ?? vm.vmid} was adopted and cannot hand over what it leads: an election will cost a second or two`);
  }
}

async function readCarriedOut(context: StepContext, vm: ListedVm): Promise<string> {
  try {
    return (await readFile(context.pve, vm, guest.yielded)).toString().trim();
  } catch (error) {
    if (isNoSuchFile(error) || isAgentSilent(error)) return "";
    throw error;
  }
}

/**
 * Lets a server that stays resume serving, also after a run was cancelled. A server without the unit never received the
 * request.
 */
export async function resumeServing(
  context: Pick<StepContext, "pve">,
  vm: { host: string; vmid: number },
): Promise<void> {
  await write(context, vm, "").catch((error: unknown) => {
    if (!isNoSuchFile(error)) throw error;
  });
}

async function write(
  { pve }: Pick<StepContext, "pve">,
  vm: { host: string; vmid: number },
  wish: string,
  stop?: AbortSignal,
): Promise<void> {
  await withAgent(`VM ${vm.vmid}`, stop, () => writeFile(pve, vm, guest.yield, wish));
}
