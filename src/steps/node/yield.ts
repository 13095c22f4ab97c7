import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import { guest } from "../../../images/contract.ts";
import { isAgentSilent, isNoSuchFile, readFile, withAgent, writeFile } from "../../clients/proxmox/agent.ts";
import type { ListedVm } from "../../clients/proxmox/vms.ts";
import type { Run } from "../run.ts";

/**
 * Tells a server that it will leave and waits until its guest has carried that out: the registration address sends nobody
 * there any more, and another member leads etcd. Without it an election costs a second or two of writes.
 * @param seconds longest wait
 */
export async function yieldServer(run: Run, vm: ListedVm, seconds: number): Promise<void> {
  const name = vm.name ?? String(vm.vmid);
  await write(run, vm, run.id, run.stop);
  const deadline = new Deadline(`${name} to hand over what it leads`, seconds, run.stop);
  let said = "";
  await deadline.poll(
    250,
    async () => {
      said = await carriedOut(run, vm);
      return said === run.id ? true : undefined;
    },
    () =>
      `${guest.yielded} says ${said === "" ? "nothing" : said}: does the image have the unit that reads ${guest.yield}?`,
  );
  say(`${name} leads nothing any more and gets no new requests`);
}

/** Longest wait for a server that may lack the unit, in seconds: with it a server takes a few. */
const adoptedSeconds = 15;

/** An adopted server has no image of ours: where nobody carries the wish out, it leaves without. */
export async function yieldAdopted(run: Run, vm: ListedVm): Promise<void> {
  try {
    await yieldServer(run, vm, adoptedSeconds);
  } catch (error) {
    run.stop.throwIfAborted();
    if (!isNoSuchFile(error) && !(error instanceof DeadlineError)) throw error;
    say(`${vm.name ?? vm.vmid} was adopted and cannot hand over what it leads: an election will cost a second or two`);
  }
}

async function carriedOut(run: Run, vm: ListedVm): Promise<string> {
  try {
    return (await readFile(run.pve, vm, guest.yielded)).toString().trim();
  } catch (error) {
    if (isNoSuchFile(error) || isAgentSilent(error)) return "";
    throw error;
  }
}

/** It stays after all, also for a run that was cancelled. One without the unit was told nothing. */
export async function serveAgain(run: Pick<Run, "pve">, vm: { host: string; vmid: number }): Promise<void> {
  await write(run, vm, "").catch((error: unknown) => {
    if (!isNoSuchFile(error)) throw error;
  });
}

async function write(
  { pve }: Pick<Run, "pve">,
  vm: { host: string; vmid: number },
  wish: string,
  stop?: AbortSignal,
): Promise<void> {
  await withAgent(`VM ${vm.vmid}`, stop, () => writeFile(pve, vm, guest.yield, wish));
}
