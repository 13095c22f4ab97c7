import { backupPolicy, stepSite, type Config } from "../config/config.ts";
import { tagsOf } from "../clients/proxmox/tags.ts";
import type { GraphArgs } from "../domain/rollout/graph.ts";
import type { PlacedPool, PoolPlan, SlotPlan, StrandedNode, VmPlacement } from "../domain/model/types.ts";
import { hostOf, templateOf } from "../observe/observed-cluster.ts";
import type { Prepared } from "./prepare.ts";

type Site = Pick<Prepared, "observed" | "hosts" | "templates">;

/** The arguments that declare a planned pool: each of its nodes with the placement of its VM. */
export function poolArgs(config: Config, { observed, hosts, templates }: Site, plan: PoolPlan): GraphArgs {
  const { cluster, allowDestroy } = config;
  const backup = plan.role === "server" ? { backup: backupPolicy(config) } : {};
  // A pool that left the configuration gets no new VMs: a host is named all the same for a VM that is gone.
  const places = hosts.get(plan.pool) ?? config.site.hosts;
  const placed = placeNodes(cluster, { observed, hosts: places, templates }, plan);
  return { cluster, site: stepSite(config), allowDestroy, plan: placed, ...backup };
}

function placeNodes(
  cluster: string,
  { observed, hosts, templates }: Omit<Site, "hosts"> & { hosts: readonly string[] },
  plan: PoolPlan,
): PlacedPool {
  const placed = <N extends StrandedNode>(node: N, slot: number, creates: boolean): N & { vm: VmPlacement } => {
    const { id, spec } = node.generation;
    const host = hostOf(observed, hosts, { slot, name: node.name });
    // When no clone is made, the template may be invisible to the token, or may have been replaced.
    const hasTemplate = creates || observed.images.has(spec.image);
    const template = hasTemplate ? templateOf(observed, spec.image, host) : undefined;
    const hardware = creates && template ? templates.get(template.vmid) : undefined;
    const tags = tagsOf({ cluster, pool: plan.pool, slot, generation: id });
    return { ...node, vm: { host, ...(template && { template }), ...(hardware && { hardware }), tags } };
  };
  const slots = plan.slots.map(({ stranded, ...slot }: SlotPlan) => ({
    ...placed(slot, slot.slot, slot.creates),
    ...(stranded && { stranded: stranded.map((node) => placed(node, slot.slot, false)) }),
  }));
  return { ...plan, slots };
}
