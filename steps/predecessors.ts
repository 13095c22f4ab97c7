import { say } from "../common/log.ts";
import type { Access } from "../kubernetes/access.ts";
import type { Fence } from "../kubernetes/lease.ts";
import { isRunning, listVms } from "../proxmox/vms.ts";
import type { SlotInput } from "./input.ts";
import { otherNodes } from "./leavers.ts";
import type { Known } from "./member.ts";
import { retireNode } from "./retirement.ts";
import { holding, tickets, type Run } from "./run.ts";

/** Who is in the slot of a server that comes. */
interface Arriving {
  access: Access;
  fence: Fence;
  known: Known;
}

/** While a voter is dead etcd admits nobody, so a predecessor whose VM is off goes before its successor comes. */
export async function removeDead(
  run: Run,
  input: SlotInput,
  { access, fence, known: { record } }: Arriving,
): Promise<void> {
  const others = await otherNodes(access.client, input, await listVms(run.pve), record);
  for (const one of others) {
    if (one.node === undefined || one.vm === undefined || (await isRunning(run.pve, one.vm))) continue;
    say(`${one.name} is off: it is taken out of etcd before its successor joins`);
    await retireNode(one, { run, access, fence, input });
  }
}

/**
 * What a given-up run left in the slot of a server goes before another one is started: it may have had to stay while a voter
 * of another slot was dead, and two of them beside an owner that runs would be more than the surge.
 */
export async function clearHalfMade(
  run: Run,
  input: SlotInput,
  { access, fence, known: { record } }: Arriving,
): Promise<void> {
  const others = await otherNodes(access.client, input, await listVms(run.pve), record);
  const owner = others.find((one) => one.record?.phase === "handedOver");
  const halfMade = others.filter(({ node, record: own }) => node && own && own.phase !== "handedOver");
  if (halfMade.length === 0 || owner?.vm === undefined || !(await isRunning(run.pve, owner.vm))) return;
  await holding(run, access, tickets(input), input.site.timeouts.lease, async () => {
    for (const one of halfMade) await retireNode(one, { run, access, fence, input });
  });
}
