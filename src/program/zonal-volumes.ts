import type { DataPicture } from "../clients/kubernetes/local-data.ts";
import { localVolumePolicy, SERVER_POOL, type Config } from "../config/config.ts";
import {
  isLostVolume,
  zonalVolumeProblems,
  zonalVolumes,
  zonalVolumeWords,
  type NodeChange,
  type ZonalVolume,
} from "../domain/drain/zonal-volumes.ts";
import type { Problem } from "../domain/model/problem.ts";
import type { LocalVolumePolicy } from "../domain/model/types.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import { poolPlans, type ClusterPlan } from "./cluster-plan.ts";

/** A pool's policy for volumes that no node reaches after a run, and the configuration path that sets it. */
export interface Consent extends LocalVolumePolicy {
  where: string;
}

/** @param pool also one that left the configuration */
export function consentOf(config: Config, pool: string): Consent {
  const index = config.pools.findIndex(({ name }) => name === pool);
  const own = pool === SERVER_POOL ? config.controlPlane : config.pools[index];
  const path = pool === SERVER_POOL ? "evergreen:controlPlane" : `evergreen:pools[${index}]`;
  const where = own === undefined ? "evergreen:localVolumes.whenNodesLeave" : `${path}.localVolumes`;
  return { ...localVolumePolicy(config, own?.localVolumes), where };
}

/** Volumes of places without nodes after a run: why it is refused, and what its plan says and records of them. */
export interface PlannedZonalVolumes {
  problems: Problem[];
  wordsOf: (pool: string) => string[];
  unplaceableOf: (pool: string) => ReadonlyMap<string, string[]>;
}

/**
 * Looks for volumes that no node reaches after the run. All pools with a node that reaches one now have to consent.
 * @param without names of volumes that are on nodes' disks
 */
export function planZonalVolumes(
  { config, observed, clusterPlan }: { config: Config; observed: ObservedCluster; clusterPlan: ClusterPlan },
  change: NodeChange,
  { volumes, pods }: Pick<DataPicture, "volumes" | "pods">,
  without: ReadonlySet<string>,
): PlannedZonalVolumes {
  const found = zonalVolumes(change, volumes, pods).filter(({ volume }) => !without.has(volume));
  const poolOf = new Map([
    ...observed.nodes.map(({ name, pool }) => [name, pool] as const),
    ...poolPlans(clusterPlan).flatMap((plan) =>
      [...plan.leaving, ...plan.slots.flatMap(({ replaces }) => replaces)].map((name) => [name, plan.pool] as const),
    ),
  ]);
  const poolsOf = ({ nodes }: ZonalVolume) => [...new Set(nodes.map((name) => poolOf.get(name) ?? SERVER_POOL))];
  const refusing = (volume: ZonalVolume) =>
    poolsOf(volume).filter((pool) => isLostVolume(volume) && !consentOf(config, pool).mayLeave);
  const refused = Map.groupBy(
    found.filter((volume) => refusing(volume).length > 0),
    (volume) => refusing(volume)[0] ?? "",
  );
  const accepted = found.filter((volume) => isLostVolume(volume) && refusing(volume).length === 0);
  return {
    problems: [...refused].flatMap(([pool, some]) => zonalVolumeProblems(some, consentOf(config, pool).where)),
    wordsOf: (pool) => zonalVolumeWords(found.filter((volume) => poolsOf(volume)[0] === pool)),
    unplaceableOf: (pool) =>
      new Map(
        [...new Set(accepted.flatMap(({ nodes }) => nodes))]
          .filter((name) => poolOf.get(name) === pool)
          .map((name) => [name, accepted.filter(({ nodes }) => nodes.includes(name)).map(({ claim }) => claim)]),
      ),
  };
}
