import { randomBytes } from "node:crypto";
import { say } from "../common/log.ts";
import type { Access } from "../kubernetes/access.ts";
import { labels, listNodes, liveNode } from "../kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../kubernetes/record.ts";
import { nodeTags } from "../proxmox/tags.ts";
import type { ListedVm } from "../proxmox/vms.ts";
import { hasServed, slotStates } from "../rollout/slots.ts";
import type { LiveVm, PoolRecord } from "../rollout/types.ts";
import type { PoolInput } from "./input.ts";
import { leaverOf, someoneLeaves } from "./leavers.ts";
import { retireNode } from "./retirement.ts";
import { requireRegistration } from "./registration.ts";
import { holding, look, slotLease, tickets, type Run } from "./run.ts";
import { beginning } from "./verdict.ts";

/** Begins what a plan asks for. Its output is new each time, so that every step that it feeds runs. */
export async function rollout(run: Run, input: PoolInput): Promise<{ rollout: string }> {
  const { vms, access } = await look(run, input);
  // Before there is a cluster, the first join remembers the generation.
  if (access) {
    const record = await readPoolRecord(access.client, input.pool);
    const begins = input.target && beginning(record.generations, input.target, access.client.now());
    if (begins) await writeFacts(access.client, input.pool, { generations: [begins] });
    if (input.role === "server" && someoneLeaves(input, record)) await requireRegistration(run, input, vms);
    await retireHalfMade(run, input, access, vms, record);
  }
  return { rollout: randomBytes(6).toString("hex") };
}

/** What given-up runs left half-made in slots that stay: it serves nobody, and holds room that new VMs need. */
async function retireHalfMade(
  run: Run,
  input: PoolInput,
  access: Access,
  list: readonly ListedVm[],
  record: PoolRecord,
): Promise<void> {
  const { client } = access;
  const { cluster, pool } = input;
  const planned = new Set(input.plan.slots.map(({ name }) => name));
  const slots = new Set(input.plan.slots.map(({ slot }) => slot));
  const nodes = (await listNodes(client, { cluster, pool })).filter(
    (node) => labels.slot in (node.metadata?.labels ?? {}),
  );
  const vms = list.flatMap((vm) => liveByTags(vm, input));
  const states = slotStates({ vms, nodes: nodes.map(liveNode), takenVmids: list.map(({ vmid }) => vmid) }, record);
  for (const state of states.values()) {
    if (!slots.has(state.slot)) continue;
    for (const member of state.members) {
      if (planned.has(member.name) || hasServed(member, state)) continue;
      if (member.node === undefined && member.vm?.running !== true) continue;
      const leaver = leaverOf({ ...input, slot: state.slot }, member.generation, {
        vm: list.find(({ vmid }) => vmid === member.vm?.vmid),
        node: nodes.find((node) => node.metadata?.name === member.name),
        record,
      });
      say(`${member.name} is half-made and serves nobody: it is retired before anything is made`);
      const { lease } = input.site.timeouts;
      await holding(run, access, slotLease({ pool, slot: state.slot }), lease, (fence) =>
        holding(run, access, tickets(input), lease, () => retireNode(leaver, { run, access, fence, input })),
      );
    }
  }
}

/** A VM as the list alone shows it: who serves a slot is a matter of names, and each is proved before it is touched. */
function liveByTags(vm: ListedVm, { cluster, pool, site }: PoolInput): LiveVm[] {
  const tags = nodeTags(vm.tags);
  if (vm.template || vm.pool !== site.proxmoxPool || tags?.cluster !== cluster || tags.pool !== pool) return [];
  const { slot, generation } = tags;
  const { vmid, host } = vm;
  const name = vm.name ?? `${cluster}-${pool}-${slot}-${generation}`;
  return [{ vmid, host, name, running: vm.status === "running", uuid: "", pool, slot, generation }];
}
