import { messageOf } from "../common/errors.ts";
import { say } from "../common/log.ts";
import { serverVms, type Access } from "../kubernetes/access.ts";
import { readGoingAway } from "../kubernetes/record.ts";
import { guest } from "../images/contract.ts";
import { isOff, readFile, writeFile } from "../proxmox/agent.ts";
import type { ListedVm } from "../proxmox/vms.ts";
import type { ClusterInput } from "./input.ts";
import type { Run } from "./run.ts";
import { clusterSite } from "./scene.ts";

/**
 * Whether the whole cluster is being destroyed. The cluster itself says so while it answers; when it has lost its
 * quorum, the disks of the servers that still run do.
 */
export async function isGoingAway(
  run: Run,
  input: ClusterInput,
  vms: readonly ListedVm[],
  access: Access | undefined,
): Promise<boolean> {
  if (access) return await readGoingAway(access.client);
  for (const server of serverVms(vms, clusterSite(input))) {
    const said = await readFile(run.pve, server, guest.goingAway).catch(() => Buffer.alloc(0));
    if (said.length > 0) return true;
  }
  return false;
}

/** Writes the mark on the disk of every server that runs; an empty one takes it back. */
export async function markServers(
  run: Run,
  input: ClusterInput,
  vms: readonly ListedVm[],
  mark: string,
): Promise<number> {
  let marked = 0;
  for (const server of serverVms(vms, clusterSite(input))) {
    try {
      await writeFile(run.pve, server, guest.goingAway, mark);
      marked += 1;
    } catch (error) {
      if (!isOff(error)) say(`${server.name ?? server.vmid} could not be marked: ${messageOf(error)}`);
    }
  }
  return marked;
}
