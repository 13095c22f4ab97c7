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

// Node strips types in place, so its own stack traces are right. Those of source-map-support, which the engine's runner
// installs, cost milliseconds for every promise of a resource.
Reflect.deleteProperty(Error, "prepareStackTrace");

const { config, observed, clusterPlan, hosts } = await prepare().catch(explain);
for (const line of renderClusterPlan(clusterPlan)) await log.info(line);

const controlPlane = pool(clusterPlan.controlPlane, []);
const pools = [...clusterPlan.pools, ...clusterPlan.removed]
  // Of a pool that is given up only what cannot be taken out now is declared.
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
  /** Proxmox hosts that new VMs go to. */
  hosts: string[];
}

/** Configuration, what both APIs say, and the plan on it. Nothing has been changed when this refuses. */
async function prepare(): Promise<Prepared> {
  const engine = engineBehind();
  // Before anything is done: what stays of a killed engine is known for its by this.
  if (engine) noteEngine(engine);
  if (engine) refuseFlagsOfEngine(engine.pid);
  checkEnvironment(process.env);
  // Steps run from a bundle: a pulled commit or a work tree must not run those of another.
  await bundle();
  const config = readConfig(ownSettings(runtime.allConfig()));
  if (!runtime.isDryRun()) checkBackupCredentials(process.env, config);
  const pve = Proxmox.fromEnvironment();
  await refuseStandIns(pve, process.env.PULUMI_HOME);
  // A preview only looks, and may do so with a token that can do no more.
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
    // Only now: a run that is refused has changed nothing.
    for (const line of await announceUpdate(pve, config, observed, clusterPlan)) await log.info(line);
    for (const line of await adoptNodes(pve, observed.kubernetes, config.cluster, observed.adoption))
      await log.info(line);
    if (observed.kubernetes) await recordKeptVms(observed.kubernetes, observed, clusterPlan, config, now);
  }
  await Promise.all([first.kubernetes?.close(), observed.kubernetes?.close(), pve.close()]);
  return { config, observed, clusterPlan, hosts: hostsThatAnswer(places) };
}

/** The picture, after what a killed run left in the cluster was mended. A preview mends nothing. */
async function settledLive(pve: Proxmox, config: Config, observed: ObservedCluster): Promise<ObservedCluster> {
  if (runtime.isDryRun()) return observed;
  const left = (await findStaleResources(pve, config, observed)).filter(({ byHand }) => !byHand);
  for (const { what, mend } of left) await log.info(`${what}\n  -> ${await mend()}`);
  if (left.length === 0) return observed;
  return await observeCluster(pve, config);
}

/** @param after nothing of the pool starts before these */
function pool(plan: PoolPlan, after: Resource[]): NodePool {
  const name = `${config.cluster}-${plan.pool}`;
  return new NodePool(name, { ...poolArgs(config, observed, hosts, plan), vms: config.site, after });
}

/** What the user can mend is shown without a stack trace. */
function explain(error: unknown): never {
  const ours = asUserError(error);
  throw ours === undefined ? error : new RunError(redact(ours.message));
}
