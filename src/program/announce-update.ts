import type { Config } from "../config/config.ts";
import { SERVER_POOL } from "../config/config.ts";
import type { ClusterPlan } from "./cluster-plan.ts";
import { withdrawTeardown } from "../clients/kubernetes/teardown.ts";
import { migrateRecord } from "../clients/kubernetes/record.ts";
import { releaseWantedSlots, writeMaxUnavailable, writeWantedSlots } from "../clients/kubernetes/cluster-record.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { listVms } from "../clients/proxmox/vms.ts";

/**
 * Records in the cluster, before an update changes anything, that the cluster is not torn down, which pools and slots
 * are given up, and how many nodes of a pool may be out at once. It withdraws the teardown mark of a destroy that was
 * interrupted or refused. The deletes of this update decommission their nodes; of every other node a delete that no
 * update asks for is refused (src/steps/verbs/retire.ts). Pool records of an older program version are moved to where
 * the steps of this version read them.
 * @returns a line when a teardown mark was withdrawn
 */
export async function announceUpdate(
  pve: Proxmox,
  config: Config,
  { kubernetes, records }: ObservedCluster,
  clusterPlan: ClusterPlan,
): Promise<string[]> {
  const { cluster, site } = config;
  const vms = await listVms(pve);
  const back = await withdrawTeardown({
    pve,
    vms,
    site: { ...site, cluster, serverPool: SERVER_POOL },
    client: kubernetes,
  });
  if (kubernetes) for (const pool of records.keys()) await migrateRecord(kubernetes, pool);
  // How many of its nodes may be out at once stays as it was last configured.
  if (kubernetes) for (const { pool } of clusterPlan.removed) await writeWantedSlots(kubernetes, pool, []);
  for (const plan of [clusterPlan.controlPlane, ...clusterPlan.pools]) {
    const stay = records.get(plan.pool)?.nodes.filter(({ name }) => plan.unreplaced.includes(name)) ?? [];
    const slots = [...plan.slots, ...stay].map(({ slot }) => slot);
    if (kubernetes) await releaseWantedSlots(kubernetes, plan.pool, plan.role, slots);
    if (kubernetes && plan.role === "agent")
      await writeMaxUnavailable(kubernetes, plan.pool, plan.strategy.maxUnavailable);
  }
  return back ? [`${cluster} stays: the mark of an earlier destroy is taken back`] : [];
}
