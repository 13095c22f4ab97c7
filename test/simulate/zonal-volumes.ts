import { ZONE } from "../../src/domain/model/labels.ts";
import { poolPlans, type ClusterPlan } from "../../src/program/cluster-plan.ts";
import type { Chance } from "./chance.ts";
import type { Cluster } from "./cluster.ts";
import type { Outcome } from "./engine.ts";
import { isReady, isSchedulable } from "./nodes.ts";
import type { Stored } from "./objects.ts";
import type { Scenario, Wish } from "./scenario.ts";
import type { World } from "./world.ts";

/** Volumes that are bound to a zone, as most CSI drivers make them. */
export interface ZonalVolumes {
  /** Whether the configuration lets their zone lose its nodes. An operator allows it once a run was refused for that. */
  mayLeave: boolean;
  /** How many are bound before the first act. */
  planted: number;
  /** How many of them no pod uses. */
  idle: number;
}

/** The zones of the two Proxmox hosts. */
export const zones = { pve1: "a", pve2: "b" };

/** In a story of zonal volumes the agents get other hosts at times, and zones other names. */
export function withZones(chance: Chance, scenario: Scenario): Scenario {
  if (scenario.zonalVolumes === undefined) return scenario;
  let keys: Pick<Wish, "pool" | "site"> = {};
  const acts = scenario.acts.map((act) => {
    if (chance.happens(0.5)) keys = { ...keys, pool: { hosts: chance.pick([["pve1"], ["pve2"], ["pve1", "pve2"]]) } };
    if (chance.happens(0.2)) keys = { ...keys, site: { zones: chance.pick([{ ...zones, pve2: "c" }, zones]) } };
    return { ...act, wish: { ...act.wish, ...keys } };
  });
  return { ...scenario, acts };
}

/**
 * The zonal volumes of a story; undefined in most stories.
 * @param strandsLocal whether nodes may strand volumes on their disks: the same key lets zones lose their nodes
 */
export function zonalVolumesOf(chance: Chance, strandsLocal: boolean): ZonalVolumes | undefined {
  if (!chance.happens(0.25)) return undefined;
  const mayLeave = chance.happens(0.5) || strandsLocal;
  return { mayLeave, planted: chance.between(1, 2), idle: chance.between(0, 1) };
}

/** A driver of zonal volumes, and which of their zones have a node. */
export class ZonalDisks {
  private readonly world: World;
  private readonly chance: Chance;
  private readonly given: ZonalVolumes;
  private bound = 0;
  /** Claims of volumes whose zone had a node after the last run that went well. */
  private reached = new Set<string>();
  /** Claims that plans since then have named. */
  private readonly named = new Set<string>();
  /** The zones of Nodes and hosts of VMs that anybody but us has changed since then. */
  private isExcused = false;
  private isPlanned = false;

  constructor(world: World, chance: Chance, given: ZonalVolumes) {
    this.world = world;
    this.chance = chance;
    this.given = given;
    world.dc.onMigrated = () => (this.isExcused = true);
  }

  /** Binds volumes in the zones of nodes, most of them for a pod. */
  bind(): void {
    const { cluster, story } = this.world;
    for (let left = this.given.planted; left > 0; left -= 1) {
      const open = cluster.objects.list("nodes").filter((node) => isReady(node) && isSchedulable(node));
      const all = open.flatMap((node) => zoneOf(node) ?? []);
      const zone = all.find((one) => all.filter((other) => other === one).length === 1) ?? this.chance.pick(["a", "b"]);
      if (!all.includes(zone)) continue;
      const claim = `zonal-${(this.bound += 1)}`;
      bindZonalVolume(cluster, claim, zone);
      if (this.bound > this.given.idle) cluster.pods.deploy(onVolume(claim));
      this.reached.add(claim);
      story.tell("fate", () => `a volume is bound in zone ${zone}: ${claim}`);
    }
  }

  runBegins(): void {
    this.isPlanned = false;
  }

  /** A run has said what it will do. */
  planned(plan: ClusterPlan): void {
    this.isPlanned = true;
    if (!this.given.mayLeave) return;
    const words = poolPlans(plan).flatMap((pool) => pool.words);
    for (const { claim } of this.volumes())
      if (words.some((line) => line.includes(`load/${claim} (`))) {
        if (!this.named.has(claim)) this.world.coverage.event("a zone that loses its last node");
        this.named.add(claim);
        this.world.watcher.places.behind.add(claim);
      }
  }

  runEnds(outcome: Outcome): void {
    // A program that ended on its way may have given nodes other labels by consent, and shown no plan yet.
    if (!this.isPlanned && outcome !== "done" && this.given.mayLeave) this.isExcused = true;
    if (outcome === "done") this.check();
  }

  private check(): void {
    const { story, watcher } = this.world;
    if (watcher.deletedByHand.size > 0) this.isExcused = true;
    for (const { claim, zone } of this.volumes()) {
      const isReached = this.hasNode(zone);
      if (this.reached.has(claim) && !isReached && !this.named.has(claim) && !this.isExcused)
        story.wrong(
          `a run is done, zone ${zone} of the volume of ${claim} has lost its last node, and nobody was asked`,
        );
      if (isReached) {
        this.reached.add(claim);
        this.named.delete(claim);
        watcher.places.behind.delete(claim);
      } else this.reached.delete(claim);
    }
    this.isExcused = false;
  }

  /**
   * Does what the refusal of a run asks an operator to do: allows it, or scales down what has no place any more.
   * @returns whether there was anything to do
   */
  helps(why: string): boolean {
    const { story, cluster } = this.world;
    if (/needs? a node with .* and after this run there is none: /.test(why) && !this.given.mayLeave) {
      story.tell("operator", () => "lets zones lose their nodes");
      this.world.coverage.event("a run that is refused for a zone");
      this.given.mayLeave = true;
      return true;
    }
    const lost = this.volumes().filter(({ claim, zone }) => why.includes(`load/${claim}-`) && !this.hasNode(zone));
    if (!/have found no place|do not run elsewhere/.test(why) || lost.length === 0) return false;
    story.tell("operator", () => `scales down ${lost.map(({ claim }) => claim).join(", ")}`);
    for (const { claim } of lost) cluster.pods.withdraw(claim);
    return true;
  }

  private volumes(): { claim: string; zone: string }[] {
    return this.world.cluster.objects.list("persistentvolumes").flatMap((volume) => {
      const [zone] = zonesWith(volume);
      const { name } = volume.spec?.claimRef as { name: string };
      return zone === undefined ? [] : [{ claim: name, zone }];
    });
  }

  private hasNode(zone: string): boolean {
    return this.world.cluster.objects.list("nodes").some((node) => zoneOf(node) === zone);
  }
}

const zoneOf = ({ metadata }: Stored): string | undefined => metadata.labels?.[ZONE];

/** A program of one pod with a volume that is bound already. */
export const onVolume = (claim: string) => ({
  name: claim,
  replicas: 1,
  minAvailable: 0,
  slowestEnd: 1000,
  claims: false,
  volume: claim,
});

/** Binds a volume to a zone. */
export function bindZonalVolume({ objects }: Cluster, claim: string, zone: string): void {
  const terms = [{ matchExpressions: [{ key: ZONE, operator: "In", values: [zone] }] }];
  objects.put("persistentvolumes", {
    metadata: { name: `pv-${claim}` },
    spec: {
      capacity: { storage: "1Gi" },
      claimRef: { namespace: "load", name: claim },
      nodeAffinity: { required: { nodeSelectorTerms: terms } },
    },
    status: { phase: "Bound" },
  });
}

interface Affinity {
  required: { nodeSelectorTerms: { matchExpressions: { key: string; values: string[] }[] }[] };
}

/** The zones that a volume is bound to; none: it is bound to something else. */
function zonesWith({ spec }: Stored): string[] {
  const { required } = spec?.nodeAffinity as Affinity;
  const asked = required.nodeSelectorTerms.flatMap(({ matchExpressions }) => matchExpressions);
  return asked.flatMap(({ key, values }) => (key === ZONE ? values : []));
}

/** Whether the volumes of a pod let it run on a node: as the scheduler sees it, by their zones alone. */
export function reachesVolumes({ objects }: Cluster, claim: string | undefined, node: Stored): boolean {
  const volumes = objects
    .list("persistentvolumes")
    .filter(({ spec }) => (spec?.claimRef as { name: string }).name === claim);
  return volumes.every((volume) => {
    const asked = zonesWith(volume);
    return asked.length === 0 || asked.includes(zoneOf(node) ?? "");
  });
}
