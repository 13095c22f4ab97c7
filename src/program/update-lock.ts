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
 * Takes the lease of the update, so that no other update begins while the engine of this one lives: the engine's
 * deletes come after the end of this program. A run is refused while other software upgrades the cluster. A preview
 * takes no lease. Where there is no API yet, the first step that reaches it takes the lease.
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
  noteHeld(engine, cluster);
  keepRun(kubernetes, engine);
}

/** Renews the lease. When it is lost the program ends and registers nothing more, so the engine begins nothing more. */
function keepRun(kubernetes: Kubernetes, engine: ProcessIdentity): void {
  const script = join(import.meta.dirname, "../../dist/step.mjs");
  startKeeper(kubernetes, engine, script, (why) => {
    // Exit code 32 tells the engine that the user has already seen the message.
    void log.error(why).finally(() => process.exit(32));
  });
}
