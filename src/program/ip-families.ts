import { SERVER_POOL, type Config } from "../config/config.ts";
import { isAdopted } from "../domain/model/generation.ts";
import type { PoolPlan } from "../domain/model/types.ts";
import {
  ipv6AloneProblems,
  missingFamilyProblems,
  unusedFamilyWords,
  type ClusterFamilies,
  type PoolFamilies,
} from "../domain/rollout/ip-families.ts";
import type { Problem } from "../runtime/errors.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";

type Planned = readonly Pick<PoolPlan, "pool" | "slots">[];

function poolsOf({ controlPlane, pools }: Config, planned: Planned, observed: ObservedCluster): PoolFamilies[] {
  const { nodes, records } = observed;
  const given = [...records.values()].flatMap((record) =>
    record.nodes.filter(({ address6 }) => address6 !== undefined),
  );
  // Only a node that was made without an address of its own shows that one made like it has some.
  const others = nodes.filter((node) => !isAdopted(node) && !given.some(({ name }) => name === node.name));
  const owners = [
    { ...controlPlane, name: SERVER_POOL, path: "evergreen:controlPlane" },
    ...pools.map((pool, i) => ({ ...pool, path: `evergreen:pools[${i}]` })),
  ];
  return owners.map(({ name, path, firstAddress6, addresses6, ip6 }) => ({
    name,
    path,
    isTold: firstAddress6 !== undefined || addresses6 !== undefined || ip6 !== undefined,
    isMade: planned.some(({ pool, slots }) => pool === name && slots.some(({ creates }) => creates)),
    nodes: others.filter(({ pool }) => pool === name),
  }));
}

const clusterOf = ({ controlPlane, site }: Config, { nodes }: ObservedCluster): ClusterFamilies => ({
  config: controlPlane.config,
  registrationAddress: site.registrationAddress,
  nodes,
});

/** Problems of a cluster without IPv4, and of pools whose new nodes could not join for want of IPv6. */
export const ipv6Problems = (config: Config, planned: Planned, observed: ObservedCluster): Problem[] => [
  ...ipv6AloneProblems(observed.nodes),
  ...missingFamilyProblems(clusterOf(config, observed), poolsOf(config, planned, observed)),
];

/** What to tell of pools whose new nodes have IPv6 for themselves alone. */
export const ipv6Words = (config: Config, planned: Planned, observed: ObservedCluster): string[] =>
  unusedFamilyWords(clusterOf(config, observed), poolsOf(config, planned, observed));
