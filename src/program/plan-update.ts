import { getProject, getStack, log, runtime } from "@pulumi/pulumi";
import { Proxmox } from "../clients/proxmox/client.ts";
import { backupPolicy, stepSite, type Config } from "../config/config.ts";
import { placementsOf } from "../config/placement.ts";
import type { PoolPlan } from "../domain/model/types.ts";
import type { PlannedCluster, PlannedPool } from "../domain/rollout/planned.ts";
import { observeCluster } from "../observe/observed-cluster.ts";
import { checkBackupCredentials, checkEnvironment, checkRights, refuseStandIns } from "../observe/preflight.ts";
import { noteDeclared, noteEngine } from "../runtime/engine-notes.ts";
import { engineBehind } from "../runtime/process-identity.ts";
import { refuseFlagsOfEngine } from "../runtime/refused-flags.ts";
import { bundle } from "../../tools/bundle.mjs";
import { poolArgs } from "./place-nodes.ts";
import { plannedImages, runWords } from "./plan-images.ts";
import { prepare, type Prepared } from "./prepare.ts";
import { lockCluster } from "./update-lock.ts";
import { redact } from "../runtime/log.ts";

/**
 * Begins an update or a preview of a cluster under the engine that runs this program: takes the cluster's lock, reads
 * the observed state, and makes the plan.
 * @throws UserError, UserErrors, or an error of an API with its own explanation, that say why the run is refused
 */
export async function planUpdate(config: Config): Promise<PlannedCluster> {
  const engine = engineBehind();
  // Noted first: this note later shows which leftovers belong to an engine that was killed.
  if (engine) noteEngine(engine);
  if (engine) refuseFlagsOfEngine(engine.pid);
  if (engine) noteDeclared(engine, config.cluster);
  checkEnvironment(process.env);
  // Steps run from a bundle, which must be that of this commit and this work tree.
  await bundle();
  const isPreview = runtime.isDryRun();
  if (!isPreview) checkBackupCredentials(process.env, config);
  const pve = Proxmox.fromEnvironment();
  await refuseStandIns(pve, process.env.PULUMI_HOME);
  // A preview only reads, and may use a token with read rights only.
  await checkRights(pve, config, isPreview ? "read" : "replace");
  const first = await observeCluster(pve, config);
  await lockCluster(config, first, engine);
  const isLocked = !isPreview && first.kubernetes !== undefined;
  // Until the lock was ours another run may have changed everything.
  const observed = isLocked ? await observeCluster(pve, config) : first;
  const [say, warn] = [(line: string) => log.info(line), (line: string) => log.warn(line)];
  const prepared = await prepare({ pve, config, observed, isPreview, say, warn });
  const clients = new Set([first, observed, prepared.observed].map(({ kubernetes }) => kubernetes));
  await Promise.all([...[...clients].map((client) => client?.close()), pve.close()]);
  return plannedCluster(config, prepared);
}

/** What is declared of a prepared cluster, as plain data. */
export function plannedCluster(config: Config, prepared: Prepared): PlannedCluster {
  const { cluster, allowDestroy } = config;
  const { clusterPlan } = prepared;
  const { controlPlane, pools, removed } = clusterPlan;
  const { proxmoxPool, bridge, gateway, prefixLength, dnsServers, searchDomain } = config.site;
  const network = {
    ...{ bridge, prefixLength, dnsServers },
    ...(gateway === undefined ? {} : { gateway }),
    ...(searchDomain === undefined ? {} : { searchDomain }),
  };
  const placements = new Map(placementsOf(config).map((placement) => [placement.pool, placement]));
  const planned = (plan: PoolPlan): PlannedPool => {
    const placement = placements.get(plan.pool);
    const { storage, fullClones } = placement ?? config.site;
    const ipv6 = placement?.ipv6 === undefined ? {} : { ipv6: placement.ipv6 };
    return { ...poolArgs(config, prepared, plan), vms: { proxmoxPool, storage, fullClones, ...network, ...ipv6 } };
  };
  // Of a removed pool, only nodes and VMs that cannot be removed in this run are declared.
  const left = removed.filter(({ kind, slots, kept }) => kind !== "remove" || slots.length + kept.length > 0);
  const images = plannedImages(prepared.observed, config, () => `${getProject()}/${getStack()}`);
  return {
    cluster,
    site: stepSite(config),
    allowDestroy,
    ...(images.length > 0 && { images }),
    controlPlane: { ...planned(controlPlane), backup: backupPolicy(config) },
    pools: [...pools, ...left].map(planned),
    generations: Object.fromEntries([controlPlane, ...pools].map(({ pool, wanted }) => [pool, wanted?.id])),
    // The record has what guests and nodes have said.
    words: runWords(prepared.observed, clusterPlan).map(redact),
  };
}
