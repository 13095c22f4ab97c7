import type { local } from "@pulumi/command";
import type { CustomResourceOptions, Output } from "@pulumi/pulumi";
import { environmentOf, variables, type Site } from "../src/domain/model/step-environment.ts";
import type { BackupPolicy } from "../src/domain/backup/snapshot.ts";
import type { PoolPlan } from "../src/domain/model/types.ts";
import { seconds, step } from "./step.ts";

export interface SnapshotGateArgs {
  cluster: string;
  site: Site;
  plan: PoolPlan;
  /** What the snapshot must be. */
  backup: BackupPolicy;
  /** Output of the pool's Rollout: another rollout needs another snapshot. */
  rollout: Output<string>;
}

/** A snapshot of etcd that is made and proved where a server leaves: nothing of the control plane changes before. */
export function snapshotGate(name: string, args: SnapshotGateArgs, options: CustomResourceOptions): local.Command {
  const { cluster, site, plan, backup, rollout } = args;
  const environment = { ...environmentOf({ cluster, site, plan, backup }), [variables.rollout]: rollout };
  const { snapshot } = site.timeouts;
  return step(name, { create: "snapshot", update: "snapshot" }, environment, {
    ...options,
    // Making it, reading it back, and looking whether an older one will do.
    customTimeouts: seconds({ update: 3 * snapshot }),
  });
}
