import { getStack, log, type Resource, RunError, runtime } from "@pulumi/pulumi";
import { lockCluster } from "./src/program/update-lock.ts";
import { noteEngine } from "./src/runtime/engine-notes.ts";
import { asUserError } from "./src/runtime/errors.ts";
import { engineBehind } from "./src/runtime/process-identity.ts";
import { redact } from "./src/runtime/log.ts";
import { refuseFlagsOfEngine } from "./src/runtime/refused-flags.ts";
import { clusterGuard } from "./components/guard.ts";
import { NodePool } from "./components/node-pool.ts";
import { ownSettings, readConfig, stepSite, type Config } from "./src/config/config.ts";
import { renderClusterPlan } from "./src/program/cluster-plan.ts";
import { poolArgs } from "./src/program/place-nodes.ts";
import { prepare, type Prepared } from "./src/program/prepare.ts";
import { observeCluster } from "./src/observe/observed-cluster.ts";
import { checkBackupCredentials, checkEnvironment, checkRights, refuseStandIns } from "./src/observe/preflight.ts";
import { Proxmox } from "./src/clients/proxmox/client.ts";
import type { PoolPlan } from "./src/domain/model/types.ts";
import { bundle } from "./tools/bundle.mjs";

// Node strips types in place, so its own stack traces are correct. The engine's runner installs source-map-support,
// whose stack traces cost milliseconds for every promise of a resource.
Reflect.deleteProperty(Error, "prepareStackTrace");

const { config, observed, clusterPlan, hosts } = await begin().catch(explain);
for (const line of renderClusterPlan(clusterPlan)) await log.info(line);

const controlPlane = pool(clusterPlan.controlPlane, []);
const pools = [...clusterPlan.pools, ...clusterPlan.removed]
  // Of a removed pool, only nodes and VMs that cannot be removed in this run are declared.
  .filter(({ kind, slots, kept }) => kind !== "remove" || slots.length + kept.length > 0)
  .map((plan) => pool(plan, controlPlane.verified));
clusterGuard(`${config.cluster}-guard`, {
  cluster: config.cluster,
  site: stepSite(config),
  allowDestroy: config.allowDestroy,
  after: [controlPlane, ...pools].flatMap(({ verified, kept }) => [...verified, ...kept]),
});

export const stack = getStack();
export const registration = config.site.registrationAddress;
export const generations = Object.fromEntries(
  [clusterPlan.controlPlane, ...clusterPlan.pools].map((plan) => [plan.pool, plan.wanted?.id]),
);

/** Reads the configuration and the observed state, takes the cluster's lock, and makes the plan. */
async function begin(): Promise<Prepared & { config: Config }> {
  const engine = engineBehind();
  // Noted first: this note later shows which leftovers belong to an engine that was killed.
  if (engine) noteEngine(engine);
  if (engine) refuseFlagsOfEngine(engine.pid);
  checkEnvironment(process.env);
  // Steps run from a bundle, which must be that of this commit and this work tree.
  await bundle();
  const config = readConfig(ownSettings(runtime.allConfig()));
  const isPreview = runtime.isDryRun();
  if (!isPreview) checkBackupCredentials(process.env, config);
  const pve = Proxmox.fromEnvironment();
  await refuseStandIns(pve, process.env.PULUMI_HOME);
  // A preview only reads, and may use a token with read rights only.
  await checkRights(pve, config, isPreview ? "read" : "replace");
  const first = await observeCluster(pve, config);
  await lockCluster(config, first, engine);
  const [say, warn] = [(line: string) => log.info(line), (line: string) => log.warn(line)];
  const prepared = await prepare({ pve, config, observed: first, isPreview, say, warn });
  await Promise.all([first.kubernetes?.close(), prepared.observed.kubernetes?.close(), pve.close()]);
  return { config, ...prepared };
}

/** @param after resources that must be done before anything of the pool starts */
function pool(plan: PoolPlan, after: Resource[]): NodePool {
  const name = `${config.cluster}-${plan.pool}`;
  return new NodePool(name, { ...poolArgs(config, observed, hosts, plan), vms: config.site, after });
}

/** Shows an error that the user can correct without a stack trace. */
function explain(error: unknown): never {
  const ours = asUserError(error);
  throw ours === undefined ? error : new RunError(redact(ours.message));
}
