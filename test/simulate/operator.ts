import type { Role } from "../../src/domain/model/types.ts";
import type { Wish } from "./scenario.ts";
import type { Vm } from "./data-centre.ts";
import type { World } from "./world.ts";

/** Time for a machine to boot and to report its status, in milliseconds. */
const bootMs = 60_000;

/**
 * Requests the pools that were judged failed again, with this image: agents by their `rollout` counter, servers by
 * another size.
 */
export function anew(wish: Wish, image: string, judged: readonly Role[]): Wish {
  const { servers, others = [] } = wish;
  const raised = <Pool extends { rollout: number }>(pool: Pool) => ({ ...pool, image, rollout: pool.rollout + 1 });
  const agents = judged.includes("agent") ? { image, rollout: wish.rollout + 1, others: others.map(raised) } : {};
  const own = judged.includes("server") && servers ? { servers: { ...servers, image, cores: servers.cores + 1 } } : {};
  return { ...wish, ...agents, ...own };
}

/**
 * Does what the refusal of a run asks an operator to do.
 * @returns whether there was anything to do
 */
export async function helps(world: World, why: string): Promise<boolean> {
  return (
    takeOutOfHa(world, why) ||
    shutsDown(world, why) ||
    (await startServers(world, why)) ||
    (await restart(world, why)) ||
    (await startFallen(world, why))
  );
}

function takeOutOfHa({ dc, story }: World, why: string): boolean {
  const vm = dc.vms.get(Number(/ha-manager remove vm:(\d+)/.exec(why)?.[1]));
  if (vm?.ha !== "error") return false;
  story.tell("operator", () => `takes ${vm.name} out of HA`);
  vm.ha = false;
  return true;
}

/** Disks that somebody has attached to the VMs of nodes that leave. @returns whether there were any */
export function givesDisksAway({ dc, story }: World, why: string): boolean {
  const numbers = [...why.matchAll(/qm disk unlink (\d+) --idlist/g)].map(([, vmid]) => Number(vmid));
  const vms = numbers.flatMap((vmid) => dc.vms.get(vmid) ?? []).filter(({ attached }) => attached.size > 0);
  for (const vm of vms) {
    story.tell("operator", () => `gives ${[...vm.attached.keys()].join(", ")} of ${vm.name} to another VM`);
    vm.attached.clear();
    vm.revision += 1;
  }
  return vms.length > 0;
}

/** A first creation that ended before there was a cluster has left a server that runs. */
function shutsDown({ dc, story }: World, why: string): boolean {
  const vm = dc.vms.get(Number(/VM (\d+) is not .* shut it down in Proxmox/.exec(why)?.[1]));
  if (vm?.running !== true) return false;
  story.tell("operator", () => `shuts ${vm.name} down`);
  dc.powerCut(vm);
  return true;
}

/** The cluster does not answer while its first server is off, or has not made it yet: the operator waits for it. */
async function startServers({ dc, story, time }: World, why: string): Promise<boolean> {
  const names = /servers that were members: ([^;]*);.* start the server VMs/.exec(why)?.[1]?.split(", ") ?? [];
  if (names.length === 0) return false;
  const isNamed = ({ name }: Vm) => names.some((one) => one.startsWith(`${name} `));
  const off = [...dc.vms.values()].filter((vm) => !vm.running && isNamed(vm));
  for (const vm of off) {
    story.tell("operator", () => `starts ${vm.name}`);
    dc.powerOn(vm);
  }
  await time.sleep(bootMs);
  return true;
}

async function restart({ dc, story, time }: World, why: string): Promise<boolean> {
  const vm = dc.vms.get(Number(/qm reboot (\d+)/.exec(why)?.[1]));
  if (vm === undefined) return false;
  story.tell("operator", () => `restarts ${vm.name}`);
  dc.powerCut(vm);
  await time.sleep(5000);
  dc.powerOn(vm);
  await time.sleep(bootMs);
  return true;
}

/**
 * Starts servers that a fault has turned off, when a run was refused for their sake. Two voters that do not serve are
 * not routine (src/domain/availability/quorum.ts): here a server that a fault has turned off, beside an incomplete
 * server of a defective image. The refusal names both, and the first can be started again. So can a voter that has lost
 * its power before its Node was there.
 * @returns whether a server was started
 */
async function startFallen({ dc, cluster, story, time }: World, why: string): Promise<boolean> {
  const areTwo = /is a voter and not healthy; .* is a voter and not healthy/.test(why);
  const oneHoldsTheOther = /may not be taken out of etcd now: .*(etcd has no quorum|is a voter and not healthy)/.test(
    why,
  );
  const hasNoNode = why.includes("is a voter without a Node");
  if (!areTwo && !oneHoldsTheOther && !hasNoNode) return false;
  const { etcd } = cluster.control;
  const fallen = [...dc.vms.values()].filter(({ uuid, running }) => !running && etcd.member(uuid) !== undefined);
  for (const vm of fallen) {
    story.tell("operator", () => `starts ${vm.name}`);
    dc.powerOn(vm);
  }
  if (fallen.length > 0) await time.sleep(bootMs);
  return fallen.length > 0;
}
