import { backupPolicy, SERVER_POOL, stepSite, type Config } from "../config/config.ts";
import { placementsOf } from "../config/placement.ts";
import { tagsOf } from "../clients/proxmox/tags.ts";
import type { GraphArgs } from "../domain/rollout/graph.ts";
import { chooseHosts, withWeight, type HostFacts } from "../domain/rollout/host-choice.ts";
import type { PlacedPool, PoolPlan, SlotPlan, StrandedNode, VmPlacement } from "../domain/model/types.ts";
import { hostsThatAnswer, takesClones, type CandidateHost, type Places } from "../observe/hosts.ts";
import { hostOf, templateOf, type ObservedCluster } from "../observe/observed-cluster.ts";
import type { ClusterPlan } from "./cluster-plan.ts";
import type { Prepared } from "./prepare.ts";

/** What the configuration says of the hosts that VMs are spread over. */
export function hostFacts({ site: { hostWeights, zones } }: Pick<Config, "site">): HostFacts {
  return { ...(hostWeights && { weights: hostWeights }), ...(zones && { zones }) };
}

/**
 * Chooses a Proxmox host for each VM that a run makes, among those that answer; among those that the image can be cloned
 * to, where these are as many as the pool has nodes.
 */
export function chooseVmHosts(
  config: Config,
  observed: ObservedCluster,
  clusterPlan: ClusterPlan,
  candidates: readonly CandidateHost[],
): Places {
  const facts = { ...hostFacts(config), seenZones: seenZones(observed) };
  const plans = new Map([clusterPlan.controlPlane, ...clusterPlan.pools].map((plan) => [plan.pool, plan]));
  const pools = placementsOf(config).map((placement) => {
    const { slots = [], unreplaced = [] } = plans.get(placement.pool) ?? {};
    const names = [...slots.map(({ name }) => name), ...unreplaced];
    const made = new Set(slots.flatMap(({ name, creates }) => (creates ? name : [])));
    const nodes = names.flatMap((name) => {
      const host = hostOf(observed, name);
      if (host === undefined && !made.has(name)) return [];
      const old = slots.find((slot) => slot.name === name)?.replaces ?? [];
      const [before] = old.flatMap((one) => hostOf(observed, one) ?? []);
      return { name, ...(host !== undefined && { host }), ...(before !== undefined && { before }) };
    });
    const role = placement.pool === SERVER_POOL ? ("server" as const) : ("agent" as const);
    const { storage } = placement;
    const images = new Set(slots.flatMap(({ creates, generation }) => (creates ? generation.spec.image : [])));
    const hosts = hostsThatAnswer(candidates, placement);
    const fitting = hosts.filter((host) =>
      [...images].every((image) => takesClones(observed, candidates, { host, storage, image })),
    );
    return { role, hosts: withWeight(fitting, facts).length >= nodes.length ? fitting : hosts, nodes };
  });
  return chooseHosts(pools, facts);
}

/** By Proxmox host: the zone of the nodes that are on it now, where they have one and the same. */
function seenZones({ nodes, vms }: ObservedCluster): Record<string, string> {
  const found = vms
    .filter((vm) => vm.unreachable === undefined)
    .flatMap(({ uuid, host }) => nodes.filter((node) => node.uuid === uuid).map(({ zone }) => ({ host, zone })));
  return Object.fromEntries(
    [...Map.groupBy(found, ({ host }) => host)].flatMap(([host, some]) => {
      const [zone, ...others] = new Set(some.map((one) => one.zone));
      return zone === undefined || others.length > 0 ? [] : [[host, zone]];
    }),
  );
}

/** Hosts that answer and take new VMs of the servers. */
export function hostsForServers(config: Config, candidates: readonly CandidateHost[]): string[] {
  const [servers] = placementsOf(config);
  return servers === undefined ? [] : withWeight(hostsThatAnswer(candidates, servers), hostFacts(config));
}

/**
 * Full clones of a pool that are made at the same time, as Proxmox's own bulk actions: each copies a whole disk, and all
 * of them at once would take longer than the provider waits for one.
 */
const FULL_CLONES_AT_ONCE = 4;

type Site = Pick<Prepared, "observed" | "places" | "templates">;

/** The arguments that declare a planned pool: each of its nodes with the placement of its VM. */
export function poolArgs(config: Config, site: Site, plan: PoolPlan): GraphArgs {
  const { cluster, allowDestroy, registries } = config;
  const backup = plan.role === "server" ? { backup: backupPolicy(config) } : {};
  const placed = placeNodes(config, site, plan);
  const isFull = placementsOf(config).find(({ pool }) => pool === plan.pool)?.fullClones === true;
  const more = { ...backup, ...(isFull && { clonesAtOnce: FULL_CLONES_AT_ONCE }), ...(registries && { registries }) };
  return { cluster, site: stepSite(config), allowDestroy, plan: placed, ...more };
}

function placeNodes(config: Config, { observed, places, templates }: Site, plan: PoolPlan): PlacedPool {
  const extra = placementsOf(config).find(({ pool }) => pool === plan.pool)?.tags ?? [];
  const placed = <N extends StrandedNode>(node: N, slot: number, creates: boolean): N & { vm: VmPlacement } => {
    const { id, spec } = node.generation;
    // A host is named for a VM that is gone too: the engine keeps what its state has.
    const host = hostOf(observed, node.name) ?? places.get(node.name) ?? config.site.hosts[0] ?? "";
    // When no clone is made, the template may be invisible to the token, or may have been replaced.
    const hasTemplate = creates || observed.images.has(spec.image);
    const template = hasTemplate ? templateOf(observed, spec.image, host) : undefined;
    const hardware = creates && template ? templates.get(template.vmid) : undefined;
    const tags = [...tagsOf({ cluster: config.cluster, pool: plan.pool, slot, generation: id }), ...extra].sort();
    return { ...node, vm: { host, ...(template && { template }), ...(hardware && { hardware }), tags } };
  };
  const slots = plan.slots.map(({ stranded, ...slot }: SlotPlan) => ({
    ...placed(slot, slot.slot, slot.creates),
    ...(stranded && { stranded: stranded.map((node) => placed(node, slot.slot, false)) }),
  }));
  return { ...plan, slots };
}
