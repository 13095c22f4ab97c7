import type { ComponentResourceOptions } from "@pulumi/pulumi";
import type { BackupPolicy } from "../src/domain/backup/snapshot.ts";
import type { PlannedPool } from "../src/domain/rollout/planned.ts";
import { Pool } from "./pool.ts";

/** Arguments of a control plane: plain data, what `Cluster.plan` says of it. */
export interface ControlPlaneArgs extends PlannedPool {
  /**
   * What the etcd snapshot must be that is made before a server leaves: its least size in bytes, its greatest age in
   * seconds, and the bucket that it goes to. A change of it counts from the next run on.
   */
  backup: BackupPolicy;
}

/**
 * The servers of a cluster: etcd and the Kubernetes API. They are replaced one after the other, each once etcd is
 * healthy without the one that leaves.
 *
 * In the state it is a pool like any other: its type is that of a `NodePool`.
 *
 * @example
 *     const plan = await Cluster.plan(args);
 *     const servers = new ControlPlane("edge-servers", plan.controlPlane);
 *     export const members = servers.nodes;
 */
export class ControlPlane extends Pool {
  /**
   * @param name `<cluster>-servers`; another name is another control plane, whose VMs do not exist
   * @throws ArgumentErrors that name every wrong argument by its path
   */
  constructor(name: string, args: ControlPlaneArgs, options?: ComponentResourceOptions) {
    super("server", name, args, options);
  }
}
