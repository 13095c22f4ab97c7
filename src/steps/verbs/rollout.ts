import { randomBytes } from "node:crypto";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { isReady, listNodes, observedNode, nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import { writeWantedServers, writeWantedSlots } from "../../clients/kubernetes/cluster-record.ts";
import type { ListedVm } from "../../clients/proxmox/vms.ts";
import type { PoolRecord } from "../../domain/model/types.ts";
import { requireMayDrain } from "../node/forecast.ts";
import { clearSlots } from "../node/incomplete-nodes.ts";
import type { PoolInput } from "../input.ts";
import { keepsSlot, isAnyNodeLeaving } from "../node/departing-nodes.ts";
import { requireRegistration } from "../cluster/registration-address.ts";
import type { StepContext } from "../context.ts";
import { beginning } from "../node/verdict.ts";
import { connect } from "../cluster/connect.ts";

/** Begins the rollout that a plan asks for. Its output is new each time, so that every step that depends on it runs. */
export async function rollout(context: StepContext, input: PoolInput): Promise<{ rollout: string }> {
  const { vms, access } = await connect(context, input);
  // Before there is a cluster, the first join records the generation.
  if (access) {
    const record = await readPoolRecord(access.client, input.pool);
    const begins = input.target && beginning(record.generations, input.target, access.client.now());
    if (begins) await writeFacts(access.client, input.pool, { generations: [begins] });
    if (input.role === "server" && isAnyNodeLeaving(input, record)) {
      const members = await listNodes(access.client, { cluster: input.cluster });
      await requireRegistration(context, input, vms.filter(hasJoined(record)), new Set(members.map(nameOf)));
    }
    const { pool, role, plan } = input;
    await requireMayDrain(access.client, await findLeavingNodes(access.client, input), input.site.timeouts.drain);
    const slots = plan.slots.map(({ slot }) => slot);
    if (role === "server") await writeWantedServers(access.client, pool, slots);
    else await writeWantedSlots(access.client, pool, [...slots, ...keptSlots(plan, record)]);
    await clearSlots(context, input, access, vms);
  }
  return { rollout: randomBytes(6).toString("hex") };
}

/** Slots of adopted nodes that stay: this run makes no nodes there, and each counts as out while its node is down. */
function keptSlots(plan: PoolInput["plan"], { nodes }: PoolRecord): number[] {
  return nodes.filter((node) => node.phase === "handedOver" && keepsSlot(plan, node)).map(({ slot }) => slot);
}

/** Ready nodes that have no slot in the plan. */
async function findLeavingNodes(client: Kubernetes, { cluster, pool, plan }: PoolInput): Promise<Set<string>> {
  const planned = new Set(plan.slots.map(({ name }) => name));
  const nodes = (await listNodes(client, { cluster, pool })).filter(isReady).map(observedNode);
  return new Set(nodes.filter((node) => !planned.has(node.name) && !keepsSlot(plan, node)).map(({ name }) => name));
}

/** Excludes VMs that were only made: such a VM may still boot, does not use the cluster yet, and cannot be asked. */
function hasJoined({ nodes }: PoolRecord): (vm: ListedVm) => boolean {
  const made = new Set(nodes.filter(({ phase }) => phase === "made").map(({ vmid }) => vmid));
  return ({ vmid }) => !made.has(vmid);
}
