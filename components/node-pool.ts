import type { ComponentResourceOptions } from "@pulumi/pulumi";
import type { PlannedPool } from "../src/domain/rollout/planned.ts";
import { Pool } from "./pool.ts";

/** Arguments of a pool of agents: plain data, what `Cluster.plan` says of the pool. */
export type NodePoolArgs = PlannedPool;

/**
 * A pool of agents. What it is to be is in the arguments of the cluster; what this run does to it, in which order and
 * on which VMs, is in its plan, which is made with those of all other pools of the cluster (`Cluster.plan`).
 *
 * What `dependsOn` it comes after all its nodes serve. What it depends on itself comes before anything of it: name the
 * control plane's `verified` among it, because an agent may not be newer than the servers.
 *
 * @example
 *     const plan = await Cluster.plan(args);
 *     const servers = new ControlPlane("edge-servers", plan.controlPlane);
 *     const pools = plan.pools.map(
 *       (pool) => new NodePool(`edge-${pool.plan.pool}`, pool, { dependsOn: servers.verified }),
 *     );
 *     new kubernetes.apps.v1.Deployment("shop", { ... }, { dependsOn: pools });
 */
export class NodePool extends Pool {
  /**
   * @param name `<cluster>-<pool>`; another name is another pool, whose VMs do not exist
   * @throws ArgumentErrors that name every wrong argument by its path
   */
  constructor(name: string, args: NodePoolArgs, options?: ComponentResourceOptions) {
    super("agent", name, args, options);
  }
}
