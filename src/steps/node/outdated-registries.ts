import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { isReady, listNodes, nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { withAgent } from "../../clients/proxmox/agent.ts";
import { explainFixed, isAsWanted, isReloading, noRegistries } from "../../clients/proxmox/guest-registries.ts";
import { isRunning, type ListedVm } from "../../clients/proxmox/vms.ts";
import { mayRun } from "../../domain/rollout/slot-state.ts";
import type { Registries } from "../../domain/model/registries.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import type { StepContext } from "../context.ts";
import type { RegistriesInput } from "../input.ts";
import { askNow, NotNow } from "./not-now.ts";

/** A node of the pool that has registered, as it is seen before any is changed. */
interface Member {
  own: NodeRecord;
  vm: ListedVm | undefined;
  isReady: boolean;
  /** Its RKE2 has started with the configured registries. */
  isDone: boolean;
  /** An earlier run may have asked for a restart that is still to come. */
  isReloading: boolean;
  /** Why it cannot be changed now. */
  why?: string;
}

/**
 * The nodes of the pool whose RKE2 has not started with the configured registries: first those that may restart at
 * any moment, then those that are not Ready, because they have the least to lose. One whose join is not over may lack
 * the very images that they bring.
 */
export async function findOutdated(
  context: StepContext,
  input: RegistriesInput,
  client: Kubernetes,
  vms: readonly ListedVm[],
): Promise<Member[]> {
  const { cluster, pool } = input;
  const nodes = new Map((await listNodes(client, { cluster, pool })).map((node) => [nameOf(node), node]));
  const records = (await readPoolRecord(client, pool)).nodes.filter((one) => mayRun(one) && nodes.has(one.name));
  const members = await Promise.all(
    records.map(async (own): Promise<Member> => {
      const node = nodes.get(own.name);
      const vm = vms.find(({ vmid }) => vmid === own.vmid);
      const seen = { own, vm, isReady: node !== undefined && isReady(node), isDone: false, isReloading: false };
      try {
        return { ...seen, ...(await observe(context, input, own, vm)) };
      } catch (error) {
        if (!(error instanceof NotNow)) throw error;
        return { ...seen, why: error.message };
      }
    }),
  );
  const rank = ({ own, ...one }: Member): number => own.slot + (one.isReady ? 1e6 : 0) + (one.isReloading ? 0 : 1e9);
  return members.filter(({ isDone }) => !isDone).toSorted((a, b) => rank(a) - rank(b));
}

/** @throws NotNow when the guest cannot be asked */
async function observe(
  { pve, stop }: StepContext,
  { plan, registries }: RegistriesInput,
  own: NodeRecord,
  vm: ListedVm | undefined,
): Promise<Seen> {
  const host = plan.slots.find(({ name }) => name === own.name)?.unreachable;
  if (host !== undefined) throw new NotNow(`its Proxmox host ${host} did not answer`);
  if (vm === undefined) throw new NotNow("its VM is not seen");
  return await askNow(async () => {
    if (!(await isRunning(pve, vm))) throw new NotNow("its VM is off");
    // An agent is silent for a moment while its guest is busy, as when RKE2 restarts.
    return await withAgent(own.name, stop, () => lookInto(pve, vm, registries));
  });
}

type Seen = Pick<Member, "isDone" | "isReloading" | "why">;

async function lookInto(pve: StepContext["pve"], vm: ListedVm, wanted: Registries | undefined): Promise<Seen> {
  if (await isAsWanted(pve, vm, wanted)) return { isDone: true, isReloading: false };
  const why = await explainFixed(pve, vm, wanted ?? noRegistries);
  return { isDone: false, isReloading: await isReloading(pve, vm), ...(why === undefined ? {} : { why }) };
}
