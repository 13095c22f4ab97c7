import type { Config } from "../config/config.ts";
import { SERVER_POOL } from "../config/config.ts";
import type { ClusterPlan } from "./cluster-plan.ts";
import { withdrawTeardown } from "../clients/kubernetes/teardown.ts";
import { migrateRecord, writeWantedSlots } from "../clients/kubernetes/record.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { listVms } from "../clients/proxmox/vms.ts";

/**
 * What an update tells the cluster before it changes anything: that it stays, whatever a destroy has said that was broken off
 * or refused, and which pools leave it. Their nodes are taken out by the deletes of this update; of every other pool a delete
 * that no update asks for is refused (src/steps/verbs/retire.ts).
 * What an older program remembers of its pools is put where every step of this one looks for it.
 * @returns a line for what was taken back
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
  if (kubernetes) for (const { pool } of clusterPlan.removed) await writeWantedSlots(kubernetes, pool, []);
  return back ? [`${cluster} stays: the mark of an earlier destroy is taken back`] : [];
}
