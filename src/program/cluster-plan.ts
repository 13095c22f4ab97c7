import type { Problem } from "../runtime/errors.ts";
import { UserErrors } from "../runtime/errors.ts";
import { localVolumePolicy, poolSpecs, SERVER_POOL, type Config } from "../config/config.ts";
import { releasedWords } from "../observe/adoption.ts";
import {
  catalogue,
  checkAgreement,
  forgottenPools,
  nowOf,
  observedPool,
  type ObservedCluster,
} from "../observe/observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { findTaken } from "../clients/proxmox/vms.ts";
import { clusterKeyProblems } from "../domain/rollout/cluster-keys.ts";
import { plan, planRemoval } from "../domain/rollout/plan.ts";
import { inRecordedOrder } from "../domain/model/generation.ts";
import { hopNotes, hopProblems } from "../domain/versions/upgrade-path.ts";
import { PlanError } from "../domain/model/problem.ts";
import { skewProblems } from "../domain/rollout/servers.ts";
import type { PoolPlan, PoolSpec, SlotPlan } from "../domain/model/types.ts";
import { ipv6Problems } from "./ip-families.ts";

/** What this run does to a cluster. */
export interface ClusterPlan {
  controlPlane: PoolPlan;
  /** Pools of agents that the configuration asks for. */
  pools: PoolPlan[];
  /** Pools that are no longer in the configuration. */
  removed: PoolPlan[];
}

/**
 * Plans every pool on one observed state.
 * @param now by default the cluster's clock
 * @throws UserErrors with every reason against a run, before anything was changed
 */
export function planPools(config: Config, observed: ObservedCluster, now = nowOf(observed)): ClusterPlan {
  const specs = poolSpecs(config, catalogue(observed), observed.unusable).map((spec) => {
    const { generations = [] } = observed.records.get(spec.name) ?? {};
    return { ...spec, node: inRecordedOrder(spec.node, generations) };
  });
  checkAgreement(observed, specs);
  const problems: Problem[] = [];
  const collect = <T>(decide: () => T): T[] => {
    try {
      return [decide()];
    } catch (error) {
      if (!(error instanceof PlanError)) throw error;
      problems.push(...error.problems);
      return [];
    }
  };
  const planned = specs
    .flatMap((spec) =>
      collect(() => plan(spec, observedPool(observed, spec.name), observed.records.get(spec.name), now)),
    )
    .map((pool) => ({ ...pool, words: [...pool.words, ...releasedWords(observed.adoption, pool.pool)] }));
  const removed = forgottenPools(observed, specs).flatMap((name) =>
    collect(() => {
      const left = { name, role: roleOf(name), localVolumes: localVolumePolicy(config) };
      return planRemoval(left, observedPool(observed, name), observed.records.get(name), now);
    }),
  );
  const controlPlane = planned.find((pool) => pool.role === "server");
  const makesServers =
    controlPlane === undefined || controlPlane.slots.some(({ creates, replaces }) => creates || replaces.length > 0);
  problems.push(
    ...specs.filter(({ role }) => role === "server").flatMap((spec) => forLife(spec, observed, makesServers)),
  );
  problems.push(...ipv6Problems(config, planned, observed));
  if (controlPlane)
    problems.push(
      ...skew(specs, controlPlane, observed),
      ...hops(controlPlane).flatMap((hop) => hopProblems(hop, observed.nodes)),
    );
  if (problems.length > 0 || !controlPlane) throw new UserErrors(problems);
  const notes = hops(controlPlane)
    .flatMap((hop) => hopNotes(hop, observed.nodes))
    .map((note) => `  ${note}`);
  return {
    controlPlane: { ...controlPlane, words: [...controlPlane.words, ...notes] },
    pools: planned.filter((pool) => pool.role === "agent"),
    removed,
  };
}

/**
 * Plans with free VMIDs. A planned VMID can belong to a VM that the token cannot see: it is added to the taken VMIDs of
 * the observed state, and the plan is made again.
 */
export async function planCluster(
  pve: Proxmox,
  config: Config,
  observed: ObservedCluster,
  now = nowOf(observed),
): Promise<ClusterPlan> {
  for (;;) {
    const clusterPlan = planPools(config, observed, now);
    const taken = await findTaken(pve, newVmids(clusterPlan));
    if (taken.length === 0) return clusterPlan;
    observed.takenVmids.push(...taken);
  }
}

function roleOf(pool: string): PoolPlan["role"] {
  return pool === SERVER_POOL ? "server" : "agent";
}

/** Agents are replaced after the servers, so the servers' versions after this run count; an adopted server may stay. */
function skew(specs: readonly PoolSpec[], { slots, unreplaced }: PoolPlan, { nodes }: ObservedCluster): Problem[] {
  const kept = nodes.filter(({ name }) => unreplaced.includes(name)).map(({ kubelet }) => kubelet);
  const versions = [...new Set([...slots.map(({ generation }) => generation.spec.rke2), ...kept])];
  return specs.flatMap((spec) => skewProblems(spec, versions));
}

/**
 * Checks cluster-wide keys against the member servers: what the record has of their configuration, and what RKE2 says on
 * their Nodes. Of adopted ones that is all, and it counts once a run makes a server.
 */
function forLife({ name, node }: PoolSpec, { nodes, records }: ObservedCluster, makesServers: boolean): Problem[] {
  const members = nodes.filter(({ pool }) => pool === name);
  const recorded = new Map((records.get(name)?.generations ?? []).map(({ id, spec }) => [id, spec.config ?? {}]));
  return clusterKeyProblems(
    node.config ?? {},
    members
      .map(({ generation, lifelongKeys }) => ({ config: recorded.get(generation), shown: lifelongKeys }))
      .filter(({ config }) => makesServers || config !== undefined),
  );
}

/** The content of the servers that this run makes or hands over to. A server that stays as it is makes no hop. */
function hops({ role, slots }: PoolPlan): Pick<PoolSpec, "role" | "node">[] {
  const made = slots.filter(({ creates, replaces }) => creates || replaces.length > 0);
  const nodes = new Map(made.map(({ generation }) => [generation.spec.rke2, generation.spec]));
  return [...nodes.values()].map((node) => ({ role, node }));
}

/** The plan of every pool, servers first. */
export function poolPlans({ controlPlane, pools, removed }: ClusterPlan): PoolPlan[] {
  return [controlPlane, ...pools, ...removed];
}

/** The whole plan as lines for the operator, pool by pool. */
export function renderClusterPlan(clusterPlan: ClusterPlan): string[] {
  return poolPlans(clusterPlan).flatMap((pool) => pool.words);
}

function newVmids(clusterPlan: ClusterPlan): number[] {
  return newSlots(clusterPlan).map((slot) => slot.vmid);
}

/** Slots for which this run makes a VM. @param of a pool; by default all */
export function newSlots({ controlPlane, pools }: ClusterPlan, of?: string): SlotPlan[] {
  return [controlPlane, ...pools]
    .filter(({ pool }) => of === undefined || pool === of)
    .flatMap((pool) => pool.slots.filter((slot) => slot.creates));
}
