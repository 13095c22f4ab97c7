import { log, runtime } from "@pulumi/pulumi";
import { join } from "node:path";
import { noteHeld } from "../runtime/engine-notes.ts";
import { UserErrors } from "../runtime/errors.ts";
import type { ProcessIdentity } from "../runtime/process-identity.ts";
import type { Config } from "../config/config.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { startKeeper } from "../clients/kubernetes/keeper.ts";
import { findOtherUpgraders } from "../clients/kubernetes/other-upgraders.ts";
import { holdRun } from "../clients/kubernetes/run-lease.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";

/**
 * Nobody else is at work on the cluster, and no other update begins while the engine of this one lives: its deletes come after
 * the end of this program. A preview disturbs nobody. Where there is no API yet the first step that meets it asks for this.
 */
export async function lockCluster(
  { cluster, allowRancher }: Config,
  { kubernetes }: ObservedCluster,
  engine: ProcessIdentity | undefined,
): Promise<void> {
  if (kubernetes === undefined || runtime.isDryRun()) return;
  const others = await findOtherUpgraders(kubernetes, allowRancher);
  if (others.length > 0) throw new UserErrors(others);
  if (engine === undefined) throw new Error("the engine of this program has ended");
  await holdRun(kubernetes, cluster, engine, { isKept: true });
  noteHeld(engine);
  keepRun(kubernetes, engine);
}

/** What is registered is what the engine does: without its lease this program registers nothing more. */
function keepRun(kubernetes: Kubernetes, engine: ProcessIdentity): void {
  const script = join(import.meta.dirname, "../../dist/step.mjs");
  startKeeper(kubernetes, engine, script, (why) => {
    // 32 tells the engine that the user was told.
    void log.error(why).finally(() => process.exit(32));
  });
}
