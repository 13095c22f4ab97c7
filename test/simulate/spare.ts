import { guest as files } from "../../images/contract.ts";
import type { Vm } from "./data-centre.ts";
import { isUp } from "./etcd.ts";
import type { World } from "./world.ts";

/**
 * Faults take out one voter at a time: the loss of two is a disaster, and not a case for a rollout. A server that was told
 * to restart its RKE2 is as good as out: it goes within seconds, and no step can call it back.
 */
export function maySpare({ cluster, dc, etcdWatcher }: World, vm: Vm): boolean {
  const { etcd } = cluster.control;
  const servers = [...dc.vms.values()].filter(({ name }) => name.startsWith("demo-servers-"));
  const isWhole = etcd.voters().every(isUp) && etcd.voters().length >= 3 && etcdWatcher.lostByHand(0).length === 0;
  const isThere = (one: Vm) => one.running && !mayRestart(one);
  return isWhole && servers.every((one) => one === vm || isThere(one) || etcd.member(one.uuid) === undefined);
}

/** Whether its guest has been told to restart RKE2 for other registries and has not done so yet. */
function mayRestart({ disk }: Vm): boolean {
  const told = disk.get(files.registriesReload) ?? "";
  return told !== "" && told !== disk.get(files.registriesLoaded);
}
