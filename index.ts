import { getStack, log, type Resource, RunError, runtime } from "@pulumi/pulumi";
import { lockCluster } from "./src/program/update-lock.ts";
import { noteEngine } from "./src/runtime/engine-notes.ts";
import { asUserError } from "./src/runtime/errors.ts";
import { engineBehind } from "./src/runtime/process-identity.ts";
import { redact } from "./src/runtime/log.ts";
import { refuseFlagsOfEngine } from "./src/runtime/refused-flags.ts";
import { adoptNodes } from "./src/observe/adoption.ts";
import { clusterGuard } from "./components/guard.ts";
import { NodePool } from "./components/node-pool.ts";
import { ownSettings, readConfig, stepSite, type Config } from "./src/config/config.ts";
import { renderClusterPlan, newSlots, planCluster, type ClusterPlan } from "./src/program/cluster-plan.ts";
import { findStaleResources } from "./src/recovery/stale-resources.ts";
import { forecastDrains } from "./src/program/drains.ts";
import { planLocalData, recordKeptVms } from "./src/program/local-data.ts";
import { poolArgs } from "./src/program/place-nodes.ts";
import { nowOf, observeCluster, templateOf, type ObservedCluster } from "./src/observe/observed-cluster.ts";
import { requireHosts, hostsThatAnswer, hostWarnings, readCandidateHosts } from "./src/observe/hosts.ts";
import { checkBackupCredentials, checkEnvironment, checkRights, refuseStandIns } from "./src/observe/preflight.ts";
import { Proxmox } from "./src/clients/proxmox/client.ts";
import type { PoolPlan } from "./src/domain/model/types.ts";
import { announceUpdate } from "./src/program/announce-update.ts";
import { checkTemplates } from "./src/observe/templates.ts";
import { bundle } from "./tools/bundle.mjs";

// Node strips types in place, so its own stack traces are correct. The engine's runner installs source-map-support,
// whose stack traces cost milliseconds for every promise of a resource.
Reflect.deleteProperty(Error, "prepareStackTrace");

const { config, observed, clusterPlan, hosts } = await prepare().catch(explain);
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

interface Prepared {
  config: Config;
  observed: ObservedCluster;
  clusterPlan: ClusterPlan;
  /** Proxmox hosts that new VMs are made on. */
  hosts: string[];
}

/**
 * Reads the configuration and the observed state, and makes the plan. When it refuses the run, at most the leftovers of
 * a killed run have been repaired, and nothing else has been changed.
 */
async function prepare(): Promise<Prepared> {
  const engine = engineBehind();
  // Noted first: this note later shows which leftovers belong to an engine that was killed.
  if (engine) noteEngine(engine);
  if (engine) refuseFlagsOfEngine(engine.pid);
  checkEnvironment(process.env);
  // Steps run from a bundle, which must be that of this commit and this work tree.
  await bundle();
  const config = readConfig(ownSettings(runtime.allConfig()));
  if (!runtime.isDryRun()) checkBackupCredentials(process.env, config);
  const pve = Proxmox.fromEnvironment();
  await refuseStandIns(pve, process.env.PULUMI_HOME);
  // A preview only reads, and may use a token with read rights only.
  await checkRights(pve, config, runtime.isDryRun() ? "read" : "replace");
  const first = await observeCluster(pve, config);
  await lockCluster(config, first, engine);
  const observed = await settledLive(pve, config, first);
  const now = nowOf(observed);
  const planned = await planCluster(pve, config, observed, now);
  const clusterPlan = await forecastDrains(config, observed, await planLocalData(config, observed, planned));
  const places = await readCandidateHosts(pve, config.site);
  for (const line of hostWarnings(places)) await log.warn(line);
  for (const { generation } of newSlots(clusterPlan)) templateOf(observed, generation.spec.image, "");
  requireHosts(places, config.site, observed, newSlots(clusterPlan));
  await checkTemplates(pve, observed, hostsThatAnswer(places), newSlots(clusterPlan));
  if (!runtime.isDryRun()) {
    // Done last: a run that is refused must not make these changes.
    for (const line of await announceUpdate(pve, config, observed, clusterPlan)) await log.info(line);
    for (const line of await adoptNodes(pve, observed.kubernetes, config.cluster, observed.adoption))
      await log.info(line);
    if (observed.kubernetes) await recordKeptVms(observed.kubernetes, observed, clusterPlan, config, now);
  }
  await Promise.all([first.kubernetes?.close(), observed.kubernetes?.close(), pve.close()]);
  return { config, observed, clusterPlan, hosts: hostsThatAnswer(places) };
}

/** The observed state after a killed run's leftovers in the cluster were repaired. A preview repairs nothing. */
async function settledLive(pve: Proxmox, config: Config, observed: ObservedCluster): Promise<ObservedCluster> {
  if (runtime.isDryRun()) return observed;
  const left = (await findStaleResources(pve, config, observed)).filter(({ needsOperator: byHand }) => !byHand);
  for (const { what, mend } of left) await log.info(`${what}\n  -> ${await mend()}`);
  if (left.length === 0) return observed;
  return await observeCluster(pve, config);
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
