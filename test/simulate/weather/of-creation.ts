import type { Vm } from "../data-centre.ts";
import { status } from "../fault-kinds.ts";
import type { World } from "../world.ts";
import type { WeatherKind } from "./kind.ts";

/** What can strike the first creation of a cluster, where a wrong answer can make a second one. */
export const ofCreation: readonly WeatherKind[] = [
  agents("agents that nobody may ask", 401, "permission denied - invalid PVE ticket"),
  agents("agents that are away", 500, "QEMU guest agent is not running"),
  agents("hosts that do not reach agents", 596, "Connection timed out"),
  {
    name: "a supervisor that refuses",
    lasts: [1000, 40_000],
    befall: ({ cluster: { control } }) => {
      control.supervisorRefuses = status(503, "ServiceUnavailable", "starting");
      return () => (control.supervisorRefuses = undefined);
    },
  },
  { name: "a new API away", lasts: [1000, 40_000], befall: ({ cluster }) => cluster.control.goAway() },
  {
    name: "a first server that hangs",
    lasts: [5000, 40_000],
    befall: ({ dc, cluster, watcher }) => {
      const vm = founderOf(dc.vms.values());
      if (vm === undefined) return undefined;
      watcher.touchedByFate(vm.name);
      const ends = [vm.guest?.freeze(), cluster.control.goAway()];
      return () => {
        for (const end of ends) end?.();
      };
    },
  },
  {
    name: "a first server that loses its power",
    lasts: [2000, 60_000],
    befall: (world) => founderOff(world),
  },
];

/** Proxmox answers every request to a guest agent in this way. */
function agents(name: string, code: number, reason: string): WeatherKind {
  return {
    name,
    lasts: [1000, 30_000],
    befall: ({ dc }) => {
      dc.agentsRefuse = { status: code, reason };
      return () => (dc.agentsRefuse = undefined);
    },
  };
}

/** While nobody else has a part in etcd, the loss of the first server is no disaster: it comes back with its data. */
function founderOff({ dc, cluster, watcher }: World): (() => void) | undefined {
  const { members } = cluster.control.etcd;
  const vm = founderOf(dc.vms.values());
  if (vm === undefined || members.some(({ uuid }) => uuid !== vm.uuid)) return undefined;
  watcher.struck(vm.name);
  dc.powerCut(vm);
  return () => dc.powerOn(vm);
}

function founderOf(vms: Iterable<Vm>): Vm | undefined {
  return [...vms].find(({ name, running }) => running && name.startsWith("demo-servers-0-"));
}
