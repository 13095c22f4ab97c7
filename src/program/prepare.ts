import type { Proxmox } from "../clients/proxmox/client.ts";
import { stepSite, type Config } from "../config/config.ts";
import { placementsOf } from "../config/placement.ts";
import { crowdedHosts } from "../domain/rollout/host-spread.ts";
import { adoptNodes } from "../observe/adoption.ts";
import { requireSameClocks } from "../observe/clocks.ts";
import { requireHostHardware } from "../observe/host-hardware.ts";
import { hostWarnings, readCandidateHosts, requireHosts, type Places } from "../observe/hosts.ts";
import { hostOf, nowOf, observeCluster, templateOf, type ObservedCluster } from "../observe/observed-cluster.ts";
import { requireRoom } from "../observe/room.ts";
import { clonesOf, readTemplates, requireClonable, type Templates } from "../observe/templates.ts";
import { keptRegistries, withRegistries } from "../observe/registries.ts";
import { setTagsOfVms, setMemberTags } from "../observe/tags.ts";
import { relabelMoved } from "../observe/topology.ts";
import { findStaleResources } from "../recovery/stale-resources.ts";
import { announceUpdate } from "./announce-update.ts";
import { newSlots, planCluster, poolPlans, type ClusterPlan } from "./cluster-plan.ts";
import { forecastDrains } from "./drains.ts";
import { ipv6Words } from "./ip-families.ts";
import { awaitsProof, optionsOfMissing, requireDueBakes } from "./plan-images.ts";
import { planLocalData, recordKeptVms } from "./local-data.ts";
import { chooseVmHosts, hostsForServers } from "./place-nodes.ts";

/** What a run does, and with what it does it. */
export interface Prepared {
  observed: ObservedCluster;
  clusterPlan: ClusterPlan;
  /** Proxmox hosts that new VMs are made on. */
  places: Places;
  /** What the VMs that this run makes keep of their templates. */
  templates: Templates;
}

export interface Preparation {
  pve: Proxmox;
  config: Config;
  /** What was observed when the run began. */
  observed: ObservedCluster;
  /** Nothing is changed: what a killed run left stays, and nothing is recorded. */
  isPreview: boolean;
  /** Tells the operator. */
  say: (line: string) => unknown;
  warn: (line: string) => unknown;
}

/**
 * Makes the plan of a run, and checks that it can be carried out. When it refuses the run, at most what a killed run had
 * left in the cluster was repaired.
 * @throws UserErrors that say why the run is refused
 */
export async function prepare({ pve, config, isPreview, say, warn, ...begun }: Preparation): Promise<Prepared> {
  if (begun.observed.kubernetes) await requireSameClocks(begun.observed.kubernetes);
  const mended = isPreview ? begun.observed : await repairStaleResources(pve, config, begun.observed, say);
  const observed = await withRegistries(pve, config, mended);
  // One moment for all: the cluster's clock has the seconds of the last answer, and its servers' clocks differ.
  const now = nowOf(observed);
  const planned = await planCluster(pve, config, observed, now);
  const candidates = await readCandidateHosts(pve, config);
  const places = chooseVmHosts(config, observed, planned, candidates);
  const withData = await planLocalData(config, observed, planned, places);
  const clusterPlan = await forecastDrains(config, observed, withData);
  for (const line of hostWarnings(candidates)) await warn(line);
  for (const line of keptRegistries(observed.registries, poolPlans(clusterPlan))) await warn(line);
  for (const line of ipv6Words(config, poolPlans(clusterPlan), observed)) await warn(line);
  const placements = placementsOf(config);
  const made = placements.map((placement) => ({ placement, made: newSlots(clusterPlan, placement.pool) }));
  for (const { generation } of made.flatMap((one) => one.made)) templateOf(observed, generation.spec.image, "");
  requireHosts(candidates, observed, places, made);
  const servers = clusterPlan.controlPlane.slots.flatMap(({ name }) => {
    const host = hostOf(observed, name) ?? places.get(name);
    return host === undefined ? [] : { name, host };
  });
  for (const line of crowdedHosts(servers, hostsForServers(config, candidates))) await warn(line);
  const clones = made.flatMap((one) => clonesOf(observed, places, one));
  const templates = await readTemplates(pve, clones, optionsOfMissing(observed));
  if (config.images) {
    // Loading what checks signatures takes longer than all other checks together.
    const { requireTrust } = await import("../observe/image-trust.ts");
    const { options } = templates;
    const known = clones.filter((clone) => !awaitsProof(observed, clone));
    await requireTrust(known, { images: config.images, project: process.cwd(), options, now });
    await requireDueBakes(observed, clones, { images: config.images, isPreview, now });
  }
  requireRoom(candidates, config.site.storageOvercommit, clones, templates.drives);
  const { kubernetes, adoption } = observed;
  if (!isPreview) {
    // The token of a preview may only read.
    await requireClonable(pve, templates, clones, config.site.bridge);
    await requireHostHardware(pve, clones);
    // Done last: a run that is refused must not make these changes.
    for (const line of await announceUpdate(pve, config, observed, clusterPlan)) await say(line);
    for (const line of await adoptNodes(pve, kubernetes, config.cluster, adoption)) await say(line);
    const { topology } = stepSite(config);
    if (kubernetes && topology)
      for (const line of await relabelMoved(kubernetes, config.cluster, topology, observed)) await say(line);
    if (kubernetes) await recordKeptVms(kubernetes, observed, clusterPlan, config, now);
  }
  if (kubernetes) for (const line of await setMemberTags(pve, config.cluster, observed, isPreview)) await say(line);
  if (kubernetes) for (const line of await setTagsOfVms(pve, kubernetes, config, observed, isPreview)) await say(line);
  return { observed, clusterPlan, places, templates: templates.hardware };
}

/** The observed cluster after a killed run's stale resources in it were repaired, as far as no operator has to ask. */
async function repairStaleResources(
  pve: Proxmox,
  config: Config,
  observed: ObservedCluster,
  say: Preparation["say"],
): Promise<ObservedCluster> {
  const stale = await findStaleResources(pve, config, observed);
  const left = stale.filter(({ needsOperator }) => !needsOperator);
  for (const { what, mend } of left) {
    const mended = await mend();
    await say(`${what}\n  -> ${typeof mended === "string" ? mended : mended.left}`);
  }
  return left.length === 0 ? observed : await observeCluster(pve, config);
}
