import type { BackupPolicy } from "../backup/snapshot.ts";
import type { ProofOrder } from "../images/proof.ts";
import type { Site } from "../model/step-environment.ts";
import type { VmSite } from "../model/types.ts";
import type { GraphArgs } from "./graph.ts";

/*
 * What a run has decided, as plain data: everything that the components declare, and nothing that they have to ask for.
 */

/** A planned pool: what happens to it in this run, and all that its resources are made of. */
export interface PlannedPool extends GraphArgs {
  /** Where VMs are placed and what they are connected to. */
  vms: VmSite;
}

/** An image that the stack bakes itself. */
export interface PlannedImage {
  /** The proof, and the bake before it. The uuid of the template is known once it is baked. */
  order: Omit<ProofOrder, "uuid">;
  /**
   * When the run was planned that bakes or proves it, so that its steps are never taken for done. Absent: the template is
   * proved, and its steps stay as the state of the engine has them.
   */
  dueSince?: string;
}

/** A planned cluster. */
export interface PlannedCluster {
  /** Name of the cluster. */
  cluster: string;
  site: Site;
  /** Whether a destroy may tear the cluster down, as of this update. */
  allowDestroy: boolean;
  /** Images that the stack bakes itself: everything of the rollout comes after them. Absent: none. */
  images?: PlannedImage[];
  controlPlane: PlannedPool & { backup: BackupPolicy };
  /**
   * Pools of agents: those that are wanted, and of removed ones those with nodes or VMs that this run cannot remove. All
   * of them have to be declared.
   */
  pools: PlannedPool[];
  /** Id of the generation that the configuration asks for, by pool. */
  generations: Record<string, string | undefined>;
  /** The plan for a reader, line by line. */
  words: string[];
}
