import { labels } from "../../src/domain/model/formats.ts";
import { nodeTags } from "../../src/clients/proxmox/tags.ts";
import type { Cluster } from "./cluster.ts";
import type { DataCentre, Vm } from "./data-centre.ts";
import { isReady } from "./nodes.ts";
import type { Stored } from "./objects.ts";

/** The place of a node, by its labels or its VM's tags. */
export interface Place {
  pool: string;
  slot: string | number;
}

export function placeOf({ metadata }: Stored): Place {
  return { pool: metadata.labels?.[labels.pool] ?? "", slot: metadata.labels?.[labels.slot] ?? "" };
}

export function uuidOf({ status }: Stored): string {
  return (status?.nodeInfo as { systemUUID?: string } | undefined)?.systemUUID ?? "";
}

/** The true state, not what an API answers; empty while the world is not created yet. */
export class Truth {
  dc: DataCentre | undefined;
  cluster: Cluster | undefined;

  /** How far the clock of the cluster is ahead, in milliseconds. */
  get aheadMs(): number {
    return this.cluster?.aheadMs ?? 0;
  }

  vmsOf(pool: string): Vm[] {
    return [...(this.dc?.vms.values() ?? [])].filter((vm) => vm.owner === "ours" && nodeTags(vm.tags)?.pool === pool);
  }

  nodes(): Stored[] {
    return this.cluster?.objects.list("nodes") ?? [];
  }

  node(name: string): Stored | undefined {
    return this.cluster?.objects.get("nodes", name);
  }

  isReady(name: string): boolean {
    const node = this.node(name);
    return node !== undefined && isReady(node);
  }

  /** The holder of a lease. */
  holderOf(lease: string): string | undefined {
    const found = this.cluster?.objects.get("leases", `evergreen-system/${lease}`);
    return found?.spec?.holderIdentity as string | undefined;
  }

  /** The holders of the disruption leases of a pool; undefined for those that are free. */
  ticketsOf(pool: string, count: number): (string | undefined)[] {
    return Array.from({ length: count }, (_, k) => this.holderOf(`ticket-${pool}-${k}`));
  }
}
