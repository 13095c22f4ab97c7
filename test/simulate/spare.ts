import type { Vm } from "./data-centre.ts";
import { isUp } from "./etcd.ts";
import type { World } from "./world.ts";

/** Faults take out one voter at a time: the loss of two is a disaster, and not a case for a rollout. */
export function maySpare({ cluster, dc, etcdWatcher }: World, vm: Vm): boolean {
  const { etcd } = cluster.control;
  const servers = [...dc.vms.values()].filter(({ name }) => name.startsWith("demo-servers-"));
  const isWhole = etcd.voters().every(isUp) && etcd.voters().length >= 3 && etcdWatcher.lostByHand(0).length === 0;
  return isWhole && servers.every((one) => one === vm || one.running || etcd.member(one.uuid) === undefined);
}
