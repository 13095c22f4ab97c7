import { UserErrors, type Problem } from "../runtime/errors.ts";
import { stepSite, type Config } from "../config/config.ts";
import { poolPlans, type ClusterPlan } from "./cluster-plan.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { affinityNodeOf, readData, withoutNode, type DataPicture } from "../clients/kubernetes/local-data.ts";
import { nameOf } from "../clients/kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../clients/kubernetes/record.ts";
import type { Places } from "../observe/hosts.ts";
import { paths, type Node } from "../clients/kubernetes/types.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import { movedNodes } from "../observe/topology.ts";
import { nodeChange } from "./node-change.ts";
import { addedDiskProblem, asKept, diskWords } from "../domain/drain/added-disks.ts";
import { consentOf, planZonalVolumes } from "./zonal-volumes.ts";
import { byHandWords, homelessWords } from "../domain/drain/by-hand.ts";
import type { NodeChange } from "../domain/drain/zonal-volumes.ts";
import { labelsByHost } from "../domain/model/labels.ts";
import { isOverdue } from "../domain/rollout/kept.ts";
import {
  claimsElsewhere,
  keptWords,
  localVolumeProblems,
  localVolumes,
  volumeWords,
  type LocalVolume,
} from "../domain/drain/local-data.ts";
import { scratchWords } from "../domain/drain/scratch-data.ts";
import type {
  KeptVm,
  ObservedVm,
  LocalVolumePolicy,
  NodeRecord,
  PoolPlan,
  PoolRecord,
  VmDisk,
} from "../domain/model/types.ts";

/*
 * Data that is on the departing nodes of a run. It is searched once the plan is known, shown in the preview, and the
 * run is refused where the configuration does not allow it to strand data. Volumes that a run may strand are recorded
 * before the run begins (src/domain/rollout/kept.ts).
 */

/**
 * Adds to the plan the data on departing nodes, and that of places without nodes after the run: in words, as VMs that
 * are kept, and as what no node reaches.
 * @param places Proxmox hosts of the VMs that the run makes
 * @throws UserErrors that names every volume that would be stranded and that the configuration does not allow to be
 */
export async function planLocalData(
  config: Config,
  observed: ObservedCluster,
  clusterPlan: ClusterPlan,
  places: Places,
): Promise<ClusterPlan> {
  const { kubernetes } = observed;
  const departing = new Set(poolPlans(clusterPlan).flatMap(departingOf));
  if (kubernetes === undefined || (departing.size === 0 && !(await isAnyMoved(kubernetes, config, observed))))
    return clusterPlan;
  const data = await readData(kubernetes);
  const problems: Problem[] = [];
  const change = nodeChange({ config, observed, clusterPlan, places, data, departing });
  const all = [...observed.records.values()].flatMap(({ nodes }) => nodes);
  const strandedIn = new Map(
    poolPlans(clusterPlan).map((plan) => {
      const records = observed.records.get(plan.pool)?.nodes ?? [];
      const leaving = departingOf(plan)
        .flatMap((name) => observed.vms.find((vm) => vm.name === name) ?? [])
        .filter((vm) => !wasKept(vm, observed, records));
      return [
        plan.pool,
        { leaving, stranded: leaving.flatMap((vm) => strandedOf(plan, vm, { departing, records, all, data })) },
      ];
    }),
  );
  const local = new Set([...strandedIn.values()].flatMap(({ stranded }) => stranded.map(({ volume }) => volume)));
  const zonal = planZonalVolumes({ config, observed, clusterPlan }, change, data, local);
  const forPool = (plan: PoolPlan): PoolPlan => {
    const { leaving, stranded } = strandedIn.get(plan.pool) ?? { leaving: [], stranded: [] };
    const consent = consentOf(config, plan.pool);
    if (!consent.mayLeave)
      problems.push(
        ...localVolumeProblems(stranded, consent.where),
        ...leaving.flatMap(({ addedDisks, ...vm }) =>
          addedDisks ? [addedDiskProblem(vm, addedDisks, consent.where)] : [],
        ),
      );
    const kept = leaving.flatMap((vm) => keptOf(vm, stranded, observed.records.get(plan.pool)));
    const words = [
      ...kept.map((one) => strandedWords(one, stranded, leaving, consent)),
      ...zonal.wordsOf(plan.pool),
      ...lostWords(plan, data, labelsByHost(config.site)),
      ...homeless(plan, change, data),
    ].map((line) => `  ${line}`);
    const unplaceable = zonal.unplaceableOf(plan.pool);
    return {
      ...plan,
      kept: [...plan.kept, ...kept],
      ...(unplaceable.size > 0 && { unplaceable }),
      words: [...plan.words, ...words],
    };
  };
  const planned = {
    controlPlane: forPool(clusterPlan.controlPlane),
    pools: clusterPlan.pools.map(forPool),
    removed: clusterPlan.removed.map(forPool),
  };
  problems.push(...zonal.problems);
  if (problems.length > 0) throw new UserErrors(problems);
  return planned;
}

/** Whether nodes get other labels in this run, for the Proxmox host that they are on. */
async function isAnyMoved(kubernetes: Kubernetes, config: Config, observed: ObservedCluster): Promise<boolean> {
  const { topology } = stepSite(config);
  if (topology === undefined) return false;
  // A node that this run adopts has none of our labels yet.
  const { items } = await kubernetes.list<Node>(paths.nodes);
  return movedNodes(items, topology, observed).length > 0;
}

function departingOf({ slots, leaving }: PoolPlan): string[] {
  return [...slots.flatMap(({ replaces }) => replaces), ...leaving];
}

function strandedOf(
  { wanted }: PoolPlan,
  vm: ObservedVm,
  {
    departing,
    records,
    all,
    data,
  }: {
    departing: ReadonlySet<string>;
    records: readonly NodeRecord[];
    /** Records of all pools. */
    all: readonly NodeRecord[];
    data: DataPicture;
  },
): LocalVolume[] {
  const { volumes, nodes, pods } = data;
  const found = nodes.find((one) => nameOf(one) === vm.name);
  const own = records.find(({ uuid }) => uuid === vm.uuid);
  const node = found ? affinityNodeOf(found) : withoutNode(vm.name, own, vm.lacksMemberTag !== true);
  const stay = nodes.filter((one) => !(found && departing.has(nameOf(one)))).map(affinityNodeOf);
  const elsewhere = claimsElsewhere(all, vm.name);
  return localVolumes({ node, stay, given: wanted?.spec.labels ?? {}, elsewhere }, volumes, pods);
}

/**
 * True for a VM that an earlier run kept: the plan lists it as departing only once its time is over, whatever is still
 * bound to it. A VM whose Node is still there does not count, because its decommissioning was interrupted.
 */
function wasKept({ name, uuid }: ObservedVm, { nodes }: ObservedCluster, records: readonly NodeRecord[]): boolean {
  if (nodes.some((node) => node.name === name)) return false;
  return records.some((record) => record.uuid === uuid && record.phase === "retired" && record.keeps !== undefined);
}

/** Recorded volumes also count: those of a node that was reused and departs again before it has a Node. */
function keptOf(vm: ObservedVm, stranded: readonly LocalVolume[], record: PoolRecord | undefined): KeptVm[] {
  const { slot, name, vmid, host, generation } = vm;
  const bound = stranded.filter(({ node }) => node === name).map(({ claim, size }) => ({ claim, size }));
  const found = [...bound, ...(vm.addedDisks ?? []).map(asKept)];
  const own = record?.nodes.find(({ uuid }) => uuid === vm.uuid);
  const volumes = found.length > 0 ? found : (own?.keeps ?? []);
  const spec = record?.generations.find(({ id }) => id === generation)?.spec;
  return volumes.length > 0 ? [{ slot, name, vmid, host, generation, spec, volumes }] : [];
}

function strandedWords(
  { name, vmid, volumes }: KeptVm,
  stranded: readonly LocalVolume[],
  vms: readonly ObservedVm[],
  { keepSeconds }: LocalVolumePolicy,
): string {
  const added = vms.find((vm) => vm.vmid === vmid)?.addedDisks ?? [];
  const found = [
    ...stranded.filter(({ node }) => node === name).map(volumeWords),
    ...(added.length > 0 ? [`disks that somebody has attached to its VM: ${diskWords(added)}`] : []),
  ];
  const days = keepSeconds / 86_400;
  const until = days === 0 ? "until the next run" : `for ${days} days after that`;
  return `${name} leaves with data in volumes that are on it alone, and its VM ${vmid} is kept, off, ${until}: ${found.join("; ") || keptWords(volumes)}`;
}

/** Data that is not kept: scratch data of pods, and labels, taints and annotations that were set manually on a node. */
function lostWords(plan: PoolPlan, { nodes, pods }: DataPicture, byHost: readonly string[]): string[] {
  const there = (name: string) => nodes.find((node) => nameOf(node) === name);
  const { labels = {}, annotations = {}, taints = [] } = plan.wanted?.spec ?? {};
  const manualChanges = plan.slots.flatMap(({ name: successor, replaces }) =>
    replaces.map((name) => {
      const node = there(name);
      return node ? byHandWords(node, successor, { labels, annotations, byHost, taints }, pods) : [];
    }),
  );
  return [...firstOf(departingOf(plan).map((name) => scratchWords(name, pods))), ...firstOf(manualChanges)];
}

function homeless({ leaving }: PoolPlan, { after }: NodeChange, { pods }: DataPicture): string[] {
  // A label that nobody is sure of is missing.
  const sure = after.map(({ name, labels }) => ({ name, labels }));
  return firstOf(leaving.map((name) => homelessWords(name, sure, pods)));
}

/** Longest list of nodes per pool: a large cluster has hundreds of similar nodes. */
const most = 10;

function firstOf(lines: readonly string[][]): string[] {
  const told = lines.filter((one) => one.length > 0);
  const more = told.length - most;
  return [...told.slice(0, most).flat(), ...(more > 0 ? [`... and likewise ${more} more nodes`] : [])];
}

/**
 * Records, before the run begins, the VMs that it keeps and the volumes that no node reaches after it, and releases VMs
 * that an earlier run kept and whose time is over. Only this function removes the record that protects a VM from being
 * destroyed, so a VM outlives the run that decommissions its node.
 */
export async function recordKeptVms(
  kubernetes: Kubernetes,
  observed: ObservedCluster,
  clusterPlan: ClusterPlan,
  config: Config,
  now: Date,
): Promise<void> {
  for (const plan of poolPlans(clusterPlan)) {
    const before = observed.records.get(plan.pool)?.nodes ?? [];
    const hasRecords = before.some(({ keeps, unplaceable }) => keeps !== undefined || unplaceable !== undefined);
    const hasDisks = observed.vms.some(({ pool, furtherDisks }) => pool === plan.pool && furtherDisks !== undefined);
    if (plan.kept.length === 0 && plan.unplaceable === undefined && !hasRecords && !hasDisks) continue;
    const policy = consentOf(config, plan.pool);
    const records = (await readPoolRecord(kubernetes, plan.pool)).nodes;
    const nodes = records.flatMap((record) => {
      const kept = withDisks(withKept(record, plan, observed, policy, now), record, plan, observed);
      const changed = withUnplaceable(kept, plan, observed);
      return JSON.stringify(changed) === JSON.stringify(record) ? [] : [changed];
    });
    if (nodes.length > 0) await writeFacts(kubernetes, plan.pool, { nodes });
  }
}

function withKept(
  record: NodeRecord,
  plan: PoolPlan,
  observed: ObservedCluster,
  policy: LocalVolumePolicy,
  now: Date,
): NodeRecord {
  const { keeps, ...without } = record;
  const kept = plan.kept.find(({ name, vmid }) => name === record.name && vmid === record.vmid);
  if (kept !== undefined) return { ...record, keeps: kept.volumes };
  if (keeps === undefined) return record;
  const serves = record.phase === "handedOver" && observed.nodes.some(({ name }) => name === record.name);
  return serves || isOverdue(record, policy, now) ? without : record;
}

/**
 * The disks that may go with a VM that leaves: those that it was made with, as the plan knows them, and all of them once
 * the time is over for which it was kept.
 * @param before the record with what it kept
 */
function withDisks(record: NodeRecord, before: NodeRecord, plan: PoolPlan, { vms }: ObservedCluster): NodeRecord {
  const { furtherDisks, addedDisks = [] } =
    vms.find(({ vmid, uuid }) => vmid === record.vmid && uuid === record.uuid) ?? {};
  if (furtherDisks === undefined) return record;
  const names = (disks: readonly VmDisk[]) => disks.map(({ name }) => name);
  const isOver = before.keeps !== undefined && record.keeps === undefined && record.phase === "retired";
  if (isOver) return { ...record, disks: names(furtherDisks) };
  if (record.disks !== undefined || !departingOf(plan).includes(record.name)) return record;
  const added = names(addedDisks);
  return { ...record, disks: names(furtherDisks).filter((name) => !added.includes(name)) };
}

/**
 * A node that has left, or that still leaves, keeps what it says: nothing else tells why pods that were evicted from it have
 * no place. An earlier run may have given it another zone meanwhile.
 */
function withUnplaceable(record: NodeRecord, plan: PoolPlan, { nodes }: ObservedCluster): NodeRecord {
  const { unplaceable, ...without } = record;
  const claims = plan.unplaceable?.get(record.name);
  if (claims !== undefined) return { ...record, unplaceable: claims };
  const stays = nodes.some(({ name }) => name === record.name) && !departingOf(plan).includes(record.name);
  return unplaceable !== undefined && stays ? without : record;
}
