/** Refusals of a cluster without quorum. */
import { died } from "./answer.ts";
import type { DataCentre } from "./data-centre.ts";

/** Checked before a VM is created, cloned, started or migrated. */
export function needQuorum(dc: DataCentre): void {
  if (!dc.quorate) throw died("cluster not ready - no quorum?");
}

/** Checked before a VM's configuration is written: without quorum the cluster's file system is read-only. */
export function needWritable(dc: DataCentre, node: string, vmid: number): void {
  if (dc.quorate) return;
  const file = `/etc/pve/nodes/${node}/qemu-server/${vmid}.conf.tmp.${dc.tasks.nextPid()}`;
  throw died(`unable to open file '${file}' - Permission denied`);
}

/** Checked before a change under a lock of the cluster. @param lock e.g. `file-user_cfg` */
export function needClusterLock(dc: DataCentre, lock: string, failed = ""): void {
  if (!dc.quorate) throw died(`${failed}cfs-lock '${lock}' error: no quorum!`);
}
