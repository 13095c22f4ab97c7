import { getStack, log, runtime } from "@pulumi/pulumi";
import { declareCluster } from "./components/cluster.ts";
import { explain } from "./components/plan.ts";
import { ownSettings, readConfig } from "./src/config/config.ts";
import { requireSecretRegistries } from "./src/config/registries.ts";
import type { PlannedCluster } from "./src/domain/rollout/planned.ts";
import { planUpdate } from "./src/program/plan-update.ts";

// Node strips types in place, so its own stack traces are correct. The engine's runner installs source-map-support,
// whose stack traces cost milliseconds for every promise of a resource.
Reflect.deleteProperty(Error, "prepareStackTrace");

const planned = await begin().catch(explain);
for (const line of planned.words) await log.info(line);

// At the top of the stack, where the states of all stacks have the pools: a `Cluster` above them would be a new resource.
withoutStackTraces(() => declareCluster(planned));

export const stack = getStack();
export const registration = planned.site.registrationAddress;
export const { generations } = planned;

/** Reads the configuration of the stack, where messages have the paths of its keys, and plans the update. */
async function begin(): Promise<PlannedCluster> {
  const config = readConfig(ownSettings(runtime.allConfig()));
  requireSecretRegistries(config, process.env);
  return await planUpdate(config);
}

/**
 * Declares resources while errors keep no stack trace. The SDK keeps one for each promise of each resource, which is a
 * quarter of the program's CPU time in a preview of hundreds of slots; what is wrong with a declaration says so in words.
 */
function withoutStackTraces(declare: () => void): void {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    declare();
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
