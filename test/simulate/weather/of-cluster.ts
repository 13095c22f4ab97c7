import { labels } from "../../../src/domain/model/formats.ts";
import type { Chance } from "../chance.ts";
import { status } from "../fault-kinds.ts";
import { isReady, isSchedulable } from "../nodes.ts";
import type { Stored } from "../objects.ts";
import type { Workload } from "../pods.ts";
import type { Answer } from "../wire.ts";
import type { World } from "../world.ts";
import type { End, WeatherKind } from "./kind.ts";

/** Faults of a cluster, its nodes and its workloads. */
export const ofCluster: readonly WeatherKind[] = [
  { name: "the API away", lasts: [1000, 40_000], befall: ({ cluster }) => cluster.control.goAway() },
  refused("500", status(500, "InternalError", "failed calling webhook: context deadline exceeded")),
  refused("429 without a budget", status(429, "TooManyRequests", "storage is (re)initializing")),
  refused("403 of a policy", status(403, "Forbidden", "admission webhook denied the request: drained by its operator")),
  refused("400 of a webhook", status(400, "BadRequest", "admission webhook denied the request: not now")),
  refused(
    "403 of a namespace",
    status(403, "Forbidden", "unable to create new content in namespace load", "NamespaceTerminating"),
  ),
  {
    name: "a kubelet that dies",
    lasts: [5000, 450_000],
    aftermath: 120_000,
    befall: ({ cluster, watcher }, chance) => {
      const node = any(chance, cluster.objects.list("nodes").filter(isReady));
      if (node === undefined) return undefined;
      watcher.touchedByFate(node.metadata.name);
      return cluster.nodes.stall(node.metadata.name);
    },
  },
  {
    name: "clocks apart",
    lasts: "for good",
    befall: ({ cluster }, chance) => {
      cluster.apartMs = chance.between(1000, 20_000);
      return () => (cluster.apartMs = 0);
    },
  },
  {
    name: "a taint by hand",
    lasts: [2000, 90_000],
    befall: ({ cluster, watcher }, chance) => {
      const node = any(chance, agents(cluster.objects.list("nodes")));
      if (node === undefined) return undefined;
      const { name } = node.metadata;
      watcher.touchedByFate(name);
      changeTaints(cluster.objects, name, (taints) => [...taints, byHand]);
      return () => changeTaints(cluster.objects, name, (taints) => taints.filter(({ key }) => key !== byHand.key));
    },
  },
  deployed("a workload without a place", "for good", { selector: "example.com/nowhere" }),
  deployed("a long grace period", "all acts", { slowestEnd: 900_000 }),
  deployed("a workload that tolerates everything", "for good", { toleratesAll: true, slowestEnd: 1000 }),
  {
    name: "a label by hand",
    lasts: "all acts",
    befall: (world, chance) => {
      const { objects, pods } = world.cluster;
      const node = any(chance, agents(objects.list("nodes")));
      if (node === undefined) return undefined;
      const named = { ...node.metadata.labels, "example.com/by-hand": "yes" };
      objects.put("nodes", { ...node, metadata: { ...node.metadata, labels: named } });
      return pods.deploy({ ...small, name: "by-hand", selector: "example.com/by-hand" });
    },
  },
  {
    name: "a DaemonSet that works nowhere",
    lasts: "for good",
    befall: ({ cluster }) => cluster.pods.deployBrokenDaemon(),
  },
  { name: "a registry that is away", lasts: [20_000, 400_000], befall: ({ cluster }) => cluster.pods.lose("registry") },
  {
    name: "a registry that is slow",
    lasts: [60_000, 600_000],
    countsItself: true,
    befall: ({ cluster, coverage }) =>
      cluster.pods.slowDown({ ms: [5000, 300_000], onPull: () => coverage.event("a registry that is slow") }),
  },
  {
    name: "a driver of volumes that is away",
    lasts: [20_000, 400_000],
    befall: ({ cluster }) => cluster.pods.lose("driver"),
  },
  {
    name: "a pod bound right after a cordon",
    lasts: "all acts",
    countsItself: true,
    befall: bindsLate,
  },
  {
    name: "a node that was down before",
    lasts: "all acts",
    aftermath: 420_000,
    befall: ({ cluster, dc, watcher }, chance) => {
      const node = any(chance, agents(cluster.objects.list("nodes")));
      const vm = [...dc.vms.values()].find(({ name, running }) => name === node?.metadata.name && running);
      if (vm === undefined) return undefined;
      watcher.struck(vm.name);
      dc.powerCut(vm);
      return () => undefined;
    },
  },
];

const byHand = { key: "example.com/by-hand", effect: "NoSchedule" };
const small: Workload = { name: "", replicas: 1, minAvailable: 0, slowestEnd: 2000, claims: false };

function any<T>(chance: Chance, from: readonly T[]): T | undefined {
  return from.length === 0 ? undefined : chance.pick(from);
}

function agents(nodes: readonly Stored[]): Stored[] {
  return nodes.filter(({ metadata }) => metadata.labels?.[labels.server] === undefined);
}

/** Refuses every eviction of every process for a while. */
function refused(name: string, answer: Answer): WeatherKind {
  return {
    name: `evictions refused: ${name}`,
    lasts: [5000, 60_000],
    befall: ({ cluster }) => {
      cluster.refusesEvictions = answer;
      return () => (cluster.refusesEvictions = undefined);
    },
  };
}

function deployed(name: string, lasts: "for good" | "all acts", workload: Partial<Workload>): WeatherKind {
  return {
    name,
    lasts,
    befall: ({ cluster }) => cluster.pods.deploy({ ...small, name: name.replaceAll(" ", "-"), ...workload }),
  };
}

/** The scheduler binds pods to nodes that it has seen without their cordon. */
function bindsLate({ cluster, coverage, story }: World, chance: Chance): End {
  const { objects, pods, time } = cluster;
  const cordoned = new Set<string>();
  let isOver = false;
  const takeAway = pods.deploy({ ...small, name: "late", replicas: 0, slowestEnd: 10_000 });
  objects.onChange(({ collection, object, removed }) => {
    if (collection !== "nodes" || isOver) return;
    const { name } = object.metadata;
    if (removed || isSchedulable(object)) cordoned.delete(name);
    if (removed || isSchedulable(object) || cordoned.has(name) || agents([object]).length === 0) return;
    cordoned.add(name);
    time.after(chance.between(1, 900), () => {
      if (isOver || objects.get("nodes", name) === undefined) return;
      story.tell("weather", () => `a pod is bound to ${name}, which was cordoned`);
      coverage.event("a pod bound right after a cordon");
      pods.bindLate("late", name);
    });
  });
  return () => {
    isOver = true;
    takeAway();
  };
}

interface Taint {
  key: string;
  effect: string;
}

function changeTaints(objects: World["cluster"]["objects"], name: string, change: (taints: Taint[]) => Taint[]): void {
  const node = objects.get("nodes", name);
  if (node === undefined) return;
  const taints = change((node.spec?.taints ?? []) as Taint[]);
  objects.put("nodes", { ...node, spec: { ...node.spec, taints } });
}
