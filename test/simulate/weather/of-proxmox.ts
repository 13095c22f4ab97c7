import type { Chance } from "../chance.ts";
import type { Vm } from "../data-centre.ts";
import type { World } from "../world.ts";
import type { End, WeatherKind } from "./kind.ts";

/** Faults of VMs, of hosts and of Proxmox as a whole. */
export const ofProxmox: readonly WeatherKind[] = [
  ...["backup", "snapshot", "migrate"].map((lock) => locked(lock)),
  ...["inmigrate", "save-vm"].map((word) => worded(word, (vm) => vm.running)),
  worded("prelaunch", (vm) => !vm.running),
  ...["paused", "io-error"].map((word) => frozen(word)),
  {
    name: "file systems that a backup has frozen",
    lasts: [1000, 60_000],
    befall: ({ dc }, chance) => {
      const guest = any(
        chance,
        ours(dc.vms.values()).filter(({ running, guest }) => running && guest?.frozen === false),
      )?.guest;
      if (guest === undefined) return undefined;
      guest.frozen = true;
      return () => (guest.frozen = false);
    },
  },
  {
    name: "VMs under HA",
    lasts: "for good",
    befall: ({ dc }) => {
      const managed = ours(dc.vms.values());
      for (const vm of managed) vm.ha = true;
      return () => {
        for (const vm of managed) vm.ha = false;
      };
    },
  },
  {
    name: "a VM that HA has given up",
    lasts: "for good",
    befall: ({ dc }, chance) => {
      const vm = any(
        chance,
        ours(dc.vms.values()).filter(({ running }) => running),
      );
      if (vm === undefined) return undefined;
      vm.ha = "error";
      return () => undefined;
    },
  },
  {
    name: "a migration",
    lasts: [0, 0],
    befall: ({ dc }, chance) => {
      const vm = any(chance, ours(dc.vms.values()));
      if (vm === undefined || vm.lock !== undefined) return undefined;
      dc.migrate(vm);
      return () => undefined;
    },
  },
  {
    name: "a VM out of sight",
    lasts: [5000, 120_000],
    befall: ({ dc }, chance) => {
      const seen = ours(dc.vms.values()).filter((one) => one.pool !== "theirs");
      const vm = any(chance, seen);
      if (vm === undefined) return undefined;
      const { pool } = vm;
      vm.pool = "theirs";
      return () => (vm.pool = pool);
    },
  },
  {
    name: "a host out of reach",
    lasts: [5000, 120_000],
    befall: ({ dc }, chance) => {
      const host = chance.pick(dc.hosts);
      dc.silent.add(host);
      return () => dc.silent.delete(host);
    },
  },
  {
    name: "a host without statistics",
    lasts: [30_000, 600_000],
    befall: ({ dc }, chance) => {
      const host = chance.pick(dc.hosts);
      dc.withoutStatistics.add(host);
      return () => dc.withoutStatistics.delete(host);
    },
  },
  {
    name: "a host that is off",
    lasts: [30_000, 200_000],
    // Pods of its VMs start elsewhere only after Kubernetes has given them up.
    aftermath: 420_000,
    befall: (world, chance) => hostOff(world, chance.pick(world.dc.hosts)),
  },
  {
    name: "Proxmox without quorum",
    lasts: [2000, 60_000],
    befall: ({ dc }) => {
      dc.quorate = false;
      return () => (dc.quorate = true);
    },
  },
];

function ours(vms: Iterable<Vm>): Vm[] {
  return [...vms].filter(({ owner }) => owner === "ours");
}

function any<T>(chance: Chance, from: readonly T[]): T | undefined {
  return from.length === 0 ? undefined : chance.pick(from);
}

/** Proxmox works on a VM and has locked it: nothing may be written to it. */
function locked(lock: string): WeatherKind {
  return {
    name: `a lock: ${lock}`,
    lasts: [2000, 90_000],
    befall: ({ dc }, chance) => {
      const vm = any(
        chance,
        ours(dc.vms.values()).filter((one) => one.lock === undefined),
      );
      if (vm === undefined) return undefined;
      vm.lock = lock;
      return () => (vm.lock = undefined);
    },
  };
}

/** Only the reported status changes: the VM works as before. */
function worded(word: string, concerns: (vm: Vm) => boolean): WeatherKind {
  return {
    name: `the status ${word}`,
    lasts: [2000, 60_000],
    befall: ({ dc }, chance) => {
      const vm = any(chance, ours(dc.vms.values()).filter(concerns));
      if (vm === undefined) return undefined;
      vm.word = word;
      return () => (vm.word = undefined);
    },
  };
}

/** The guest is suspended: no agent, no kubelet. This strikes agents only: a suspended server is a partition. */
function frozen(word: string): WeatherKind {
  return {
    name: `the status ${word}`,
    lasts: [2000, 90_000],
    befall: ({ dc, cluster, watcher }, chance) => {
      const vm = any(
        chance,
        ours(dc.vms.values()).filter(({ running, guest }) => running && guest?.server === undefined),
      );
      if (vm === undefined) return undefined;
      const ends = [vm.guest?.freeze(), cluster.nodes.stall(vm.name)];
      vm.word = word;
      watcher.touchedByFate(vm.name);
      return () => {
        vm.word = undefined;
        for (const end of ends) end?.();
      };
    },
  };
}

/** A host loses its power; its VMs go off and start again with it. */
function hostOff({ dc, cluster, watcher }: World, host: string): End | undefined {
  const here = ours(dc.vms.values()).filter((vm) => vm.host === host && vm.running);
  const { etcd } = cluster.control;
  if (here.some(({ uuid }) => etcd.member(uuid) !== undefined)) return undefined;
  if (here.some(({ guest }) => guest?.server !== undefined)) return undefined;
  dc.silent.add(host);
  for (const vm of here) {
    watcher.struck(vm.name);
    dc.powerCut(vm);
  }
  return () => {
    dc.silent.delete(host);
    for (const vm of here) if (vm.onBoot) dc.powerOn(vm);
  };
}
