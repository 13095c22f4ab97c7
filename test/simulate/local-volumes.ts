import type { Chance } from "./chance.ts";
import type { Vm } from "./data-centre.ts";
import { isReady, isSchedulable } from "./nodes.ts";
import type { Stored } from "./objects.ts";
import type { Process } from "./process.ts";
import type { World } from "./world.ts";

/**
 * Local volumes, each on a single node's disk: how many there are, and how long the VMs of decommissioned nodes are
 * kept.
 */
export interface LocalVolumes {
  /** Days for which the VM of a decommissioned node is kept. */
  keepDays: 0 | 7;
  /** How many are bound before the first act. */
  planted: number;
  /** Milliseconds into each act at which another volume is bound. */
  later: number[];
}

/** The local volumes of a story; undefined in most stories. */
export function localVolumesOf(chance: Chance): LocalVolumes | undefined {
  if (!chance.happens(0.2)) return undefined;
  const later = Array.from({ length: chance.between(0, 2) }, () => chance.between(0, 120_000));
  return { keepDays: chance.pick([0, 7] as const), planted: chance.between(0, 2), later };
}

/** A provisioner of local volumes, and the true state of which disk holds data. */
export class LocalDisks {
  private readonly world: World;
  private readonly chance: Chance;
  private readonly keepDays: number;
  /** Nodes that existed when the run began: the data on their disks has to outlive the run. */
  private there = new Set<string>();
  private bound = 0;

  constructor(world: World, chance: Chance, { keepDays }: LocalVolumes) {
    this.world = world;
    this.chance = chance;
    this.keepDays = keepDays;
    world.watcher.onDestroyed = (vm, by) => this.destroyed(vm, by);
  }

  runBegins(): void {
    this.there = new Set(this.world.cluster.objects.list("nodes").map(({ metadata }) => metadata.name));
  }

  /** Binds a volume on a node, as if a pod with a claim was scheduled there. */
  bind(): void {
    const { objects } = this.world.cluster;
    const open = objects.list("nodes").filter((node) => isReady(node) && isSchedulable(node));
    if (open.length === 0) return;
    const node = this.chance.pick(open).metadata.name;
    const number = (this.bound += 1);
    bindVolume(this.world.cluster, {
      node,
      name: `local-${number}`,
      claim: `data-${number}`,
      by: this.chance.pick(ties),
    });
    this.world.story.tell("fate", () => `a volume is bound on the disk of ${node}`);
  }

  private destroyed({ name, vmid, runsSince, attached }: Vm, by: Process): void {
    const held = [...volumesOn(this.world.cluster, name).map(({ metadata }) => metadata.name), ...attached.keys()];
    // A clone that a killed run left never ran: its namesake, which was made after it, has the data (832400937).
    const isTwin = ({ dc }: World) => [...dc.vms.values()].some((one) => one.name === name && one.vmid !== vmid);
    if (held.length === 0 || (runsSince === -Infinity && isTwin(this.world))) return;
    const what = `${by.name} destroys ${name} (VM ${vmid}) with ${held.join(", ")}`;
    if (this.keepDays > 0) this.world.story.wrong(`${what}, and it is to be kept for ${this.keepDays} days`);
    else if (this.there.has(name)) this.world.story.wrong(`${what}, in the run that has stranded it`);
  }
}

/** The labels by which drivers tie volumes to nodes: Kubernetes' own, and one that a driver gives (TopoLVM). */
export const ties = ["kubernetes.io/hostname", "topology.topolvm.io/node"] as const;

/** Binds a volume on the disk of a node, and has its driver label the node, as it does where it runs. */
export function bindVolume(
  { objects }: World["cluster"],
  { node, name, claim, by = ties[0] }: { node: string; name: string; claim: string; by?: string },
): void {
  const found = objects.get("nodes", node);
  if (found) {
    const labels = { ...found.metadata.labels, [by]: node };
    objects.put("nodes", { ...found, metadata: { ...found.metadata, labels } });
  }
  const terms = [{ matchExpressions: [{ key: by, operator: "In", values: [node] }] }];
  objects.put("persistentvolumes", {
    metadata: { name },
    spec: {
      capacity: { storage: "1Gi" },
      claimRef: { namespace: "load", name: claim },
      nodeAffinity: { required: { nodeSelectorTerms: terms } },
    },
    status: { phase: "Bound" },
  });
}

interface Tied {
  required: { nodeSelectorTerms: { matchExpressions: { key: string; values: string[] }[] }[] };
}

/** The names of nodes to which a volume is tied. */
function diskOf({ spec }: Stored): string[] {
  const { required } = spec?.nodeAffinity as Tied;
  const tied = required.nodeSelectorTerms.flatMap(({ matchExpressions }) => matchExpressions);
  return tied.flatMap(({ key, values }) => ((ties as readonly string[]).includes(key) ? values : []));
}

/** The volumes on the disk of this node, whatever its Node says, or whether it has one. */
export function volumesOn({ objects }: World["cluster"], name: string): Stored[] {
  return objects.list("persistentvolumes").filter((volume) => diskOf(volume).includes(name));
}

/** Whether a pod can start nowhere, because its volume is on the disk of a node that has left. */
export function hasItsDataBehind({ objects }: World["cluster"], { metadata, spec }: Stored): boolean {
  const volumes = (spec?.volumes ?? []) as { persistentVolumeClaim?: { claimName: string } }[];
  const claims = volumes.map(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName);
  return objects.list("persistentvolumes").some((volume) => {
    const { namespace, name } = volume.spec?.claimRef as { namespace: string; name: string };
    const isUsed = namespace === metadata.namespace && claims.includes(name);
    const disks = diskOf(volume);
    return isUsed && disks.length > 0 && !disks.some((node) => objects.get("nodes", node));
  });
}
