import { cordonedBy, labels } from "../../../src/domain/model/formats.ts";
import type { Chance } from "../chance.ts";
import { isReady, isSchedulable } from "../nodes.ts";
import type { Stored } from "../objects.ts";
import { maySpare } from "../spare.ts";
import type { World } from "../world.ts";
import type { End, WeatherKind } from "./kind.ts";

/** What somebody does with kubectl, or in Proxmox VE, while a cluster is patched. */
export const byHand: readonly WeatherKind[] = [
  { name: "the Node of an agent deleted", lasts: [0, 0], befall: (world, chance) => deletesNode(world, chance, false) },
  { name: "the Node of a server deleted", lasts: [0, 0], befall: (world, chance) => deletesNode(world, chance, true) },
  {
    name: "a cordon by hand",
    lasts: [2000, 120_000],
    befall: ({ cluster: { objects } }, chance) => {
      const node = any(chance, objects.list("nodes").filter(isSchedulable));
      if (node === undefined) return undefined;
      const { name } = node.metadata;
      setUnschedulable(objects, name, true);
      return () => setUnschedulable(objects, name, false);
    },
  },
  { name: "a disk by hand", lasts: [0, 0], befall: attachesDisk },
  {
    name: "an uncordon by hand",
    lasts: [150_000, 150_000],
    countsItself: true,
    befall: ({ cluster: { objects, time }, coverage, story }, chance) => {
      let isDone = false;
      objects.onChange(({ collection, object, removed }) => {
        const { name, annotations = {} } = object.metadata;
        if (isDone || removed || collection !== "nodes" || isSchedulable(object) || !(cordonedBy in annotations))
          return;
        isDone = true;
        time.after(chance.between(1, 8000), () => {
          if (objects.get("nodes", name) === undefined) return;
          story.tell("weather", () => `somebody uncordons ${name}`);
          coverage.event("an uncordon by hand");
          setUnschedulable(objects, name, false);
        });
      });
      return () => (isDone = true);
    },
  },
];

/** Somebody attaches a disk to the VM of a node, or has detached one and left it there. */
function attachesDisk({ cluster, dc, story, hasOlderState }: World, chance: Chance): End | undefined {
  if (hasOlderState) return undefined;
  const serves = new Set(
    cluster.objects
      .list("nodes")
      .filter((node) => isReady(node) && isSchedulable(node))
      .map(({ metadata }) => metadata.name),
  );
  const vms = [...dc.vms.values()].filter((vm) => vm.running && serves.has(vm.name) && vm.attached.size === 0);
  if (vms.length === 0) return undefined;
  const vm = chance.pick(vms);
  const name = chance.pick(["scsi1", "virtio4", "unused0"]);
  story.tell("fate", () => `somebody attaches ${name} to ${vm.name}`);
  vm.attached.set(name, `local:${vm.vmid}/vm-${vm.vmid}-disk-1.qcow2${name === "unused0" ? "" : ",size=500G"}`);
  vm.revision += 1;
  return () => undefined;
}

/** Somebody deletes the Node of a machine that runs. */
function deletesNode(world: World, chance: Chance, isServer: boolean): End | undefined {
  const { cluster, dc, watcher, story } = world;
  const { objects } = cluster;
  const running = new Set([...dc.vms.values()].filter((vm) => vm.running).map(({ name }) => name));
  const servers = objects.list("nodes").filter(({ metadata }) => labels.server in (metadata.labels ?? {}));
  const nodes = isServer ? servers : objects.list("nodes").filter((node) => !servers.includes(node));
  const node = any(
    chance,
    nodes.filter((one) => isReady(one) && running.has(one.metadata.name)),
  );
  const vm = [...dc.vms.values()].find(({ name }) => name === node?.metadata.name);
  if (node === undefined || vm === undefined) return undefined;
  // RKE2 takes a server out of etcd then: two that leave at once are a disaster, and not a case for a rollout.
  if (isServer && (!maySpare(world, vm) || servers.some((one) => !isSchedulable(one)))) return undefined;
  const { name } = node.metadata;
  story.tell("weather", () => `somebody deletes the Node ${name}`);
  watcher.deletedByHand.add(name);
  // Nothing is wrong with the machine, so no verdict about its generation is excused.
  watcher.availability.struck(name);
  if (isServer) world.etcdWatcher.nodeDeletedByHand(name, vm.uuid);
  objects.remove("nodes", name);
  return () => undefined;
}

function any(chance: Chance, from: readonly Stored[]): Stored | undefined {
  return from.length === 0 ? undefined : chance.pick(from);
}

function setUnschedulable(objects: World["cluster"]["objects"], name: string, unschedulable: boolean): void {
  const node = objects.get("nodes", name);
  if (node === undefined || isSchedulable(node) !== unschedulable) return;
  objects.put("nodes", { ...node, spec: { ...node.spec, unschedulable } });
}
