import { ProxmoxError } from "../clients/proxmox/errors.ts";
import { explainFixed, isAsWanted, noRegistries } from "../clients/proxmox/guest-registries.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import type { Config } from "../config/config.ts";
import { mayRun } from "../domain/rollout/slot-state.ts";
import type { PoolPlan } from "../domain/model/types.ts";
import type { ObservedCluster } from "./observed-cluster.ts";

/**
 * Nodes whose RKE2 has not started with the configured registries, by name. When none are configured, nodes keep what
 * they have; but for those whose RKE2 has not started with what it was given last.
 */
export interface ObservedRegistries {
  /** Their image can be told to restart RKE2. */
  outdated: ReadonlySet<string>;
  /** Why their image does not allow that: only other nodes have other registries. */
  fixed: ReadonlyMap<string, string>;
}

/**
 * Asks every node that runs and has registered which registries its RKE2 has started with. One whose guest does not
 * answer is not named: a later run asks it again.
 */
export async function observeRegistries(
  pve: Proxmox,
  { registries }: Config,
  { nodes, vms, records }: Pick<ObservedCluster, "nodes" | "vms" | "records">,
): Promise<ObservedRegistries> {
  const known = new Set([...records.values()].flatMap((record) => record.nodes.filter(mayRun)).map(({ name }) => name));
  const asked = vms.filter(
    (vm) =>
      vm.running && vm.unreachable === undefined && known.has(vm.name) && nodes.some(({ name }) => name === vm.name),
  );
  const answers = await Promise.all(
    asked.map(async (vm) => {
      try {
        if (await isAsWanted(pve, vm, registries)) return [];
        return [{ name: vm.name, why: await explainFixed(pve, vm, registries ?? noRegistries) }];
      } catch (error) {
        if (error instanceof ProxmoxError) return [];
        throw error;
      }
    }),
  );
  const found = answers.flat();
  return {
    outdated: new Set(found.flatMap(({ name, why }) => (why === undefined ? name : []))),
    // Where none are configured, what a node has is no fault of it.
    fixed: new Map(
      registries === undefined
        ? []
        : found.flatMap(({ name, why }) => (why === undefined ? [] : [[name, why] as const])),
    ),
  };
}

/**
 * What was observed, with the registries that nodes run with: no plan that is made without them names a node with others.
 * @param config with the configured registries, which `readWithRegistries` reads
 */
export async function withRegistries(
  pve: Proxmox,
  config: Config,
  observed: ObservedCluster,
): Promise<ObservedCluster & { registries: ObservedRegistries }> {
  return { ...observed, registries: await observeRegistries(pve, config, observed) };
}

/** Lines about nodes that run with other registries than the configured ones, and what brings these. */
export function outdatedRegistries({ outdated, fixed }: ObservedRegistries, stack: string): string[] {
  const others = "with other registries than the configured ones";
  const update = `npx pulumi up --stack ${stack}`;
  return [
    ...(outdated.size === 0 ? [] : [`${[...outdated].sort().join(", ")}: ${others}. These bring them: ${update}`]),
    ...[...Map.groupBy(fixed, ([, why]) => why)].map(([why, nodes]) => {
      const names = nodes.map(([name]) => name).sort();
      return `${names.join(", ")}: ${others}, and they stay, because ${why}: raise rollout of the pool, then ${update}`;
    }),
  ];
}

/** Lines about nodes that stay in this run, and whose registries cannot be changed. */
export function keptRegistries({ fixed }: ObservedRegistries, plans: readonly PoolPlan[]): string[] {
  return plans.flatMap(({ pool, slots, unreplaced }) => {
    const names = [...slots.map(({ name }) => name), ...unreplaced].filter((name) => fixed.has(name));
    return [...Map.groupBy(names, (name) => fixed.get(name) ?? "")].map(
      ([why, these]) =>
        `${these.join(", ")}: the registries stay as they are, because ${why}. New nodes have those that are configured: raise rollout of ${pool} to replace these`,
    );
  });
}
