import type { BackupPolicy } from "../../src/domain/backup/snapshot.ts";
import { generationOf, nodeName } from "../../src/domain/model/generation.ts";
import { defaultTimeouts } from "../../src/domain/model/step-environment.ts";
import type { NodeSpec, PlacedPool, PoolPlan } from "../../src/domain/model/types.ts";
import type { PlannedCluster, PlannedPool } from "../../src/domain/rollout/planned.ts";

const spec: NodeSpec = { image: "ubuntu-v1.1.0", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
export const generation = generationOf(spec);
const site = {
  registrationAddress: "10.0.0.5",
  proxmoxPool: "nodes",
  serverPool: "servers",
  timeouts: defaultTimeouts,
};
const vms = { proxmoxPool: "nodes", storage: "local", bridge: "vmbr0", prefixLength: 24, dnsServers: [] };

function planOf(cluster: string, pool: string, role: PoolPlan["role"], slots: number): PlacedPool {
  const first = role === "server" ? 1000 : 1100;
  return {
    pool,
    role,
    kind: "create",
    wanted: generation,
    target: generation,
    strategy: { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 0, onFailure: "hold" },
    slots: Array.from({ length: slots }, (_, slot) => ({
      slot,
      generation,
      name: nodeName(cluster, pool, slot, generation.id),
      vmid: first + slot,
      creates: true,
      replaces: [],
      vm: { host: "pve1", tags: ["evergreen"], template: { vmid: 9001, host: "pve1" } },
    })),
    leaving: [],
    unreplaced: [],
    kept: [],
    unhealthy: [],
    verdict: undefined,
    words: [],
    digest: "d",
  };
}

/** A pool of agents of which every node is new. */
export function plannedPool(cluster: string, pool: string, slots: number): PlannedPool {
  return { cluster, site, allowDestroy: false, vms, plan: planOf(cluster, pool, "agent", slots) };
}

/** The servers of a cluster, all of them new. */
export function plannedServers(cluster: string, slots: number): PlannedPool & { backup: BackupPolicy } {
  const backup = { leastBytes: 1024, mostSeconds: 3600 };
  return { cluster, site, allowDestroy: false, vms, plan: planOf(cluster, "servers", "server", slots), backup };
}

/** A cluster of one server and one agent, both of them new. */
export function plannedCluster(cluster: string): PlannedCluster {
  return {
    cluster,
    site,
    allowDestroy: false,
    controlPlane: plannedServers(cluster, 1),
    pools: [plannedPool(cluster, "workers", 1)],
    generations: { servers: generation.id, workers: generation.id },
    words: [],
  };
}
