import type { Config } from "../../src/config/config.ts";
import type { PoolPlan } from "../../src/domain/model/types.ts";
import { BEFORE_POOL, poolGraph, verifyOf, type PoolResource } from "../../src/domain/rollout/graph.ts";
import { poolArgs } from "../../src/program/place-nodes.ts";
import type { Prepared } from "../../src/program/prepare.ts";

/** The resources that a run declares, in an order in which all dependencies of a resource come before it. */
export function declare(config: Config, prepared: Prepared): PoolResource[] {
  const { controlPlane, pools, removed } = prepared.clusterPlan;
  const of = (plan: PoolPlan, before: string[]): PoolResource[] =>
    poolGraph(poolArgs(config, prepared, plan)).map((one) => ({
      ...one,
      after: one.after.flatMap((name) => (name === BEFORE_POOL ? before : [name])),
    }));
  const servers = verifyOf(config.cluster, controlPlane.pool);
  return [...of(controlPlane, []), ...[...pools, ...removed].flatMap((plan) => of(plan, [servers]))];
}
