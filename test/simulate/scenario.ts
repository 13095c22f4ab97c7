import { readConfig, type Config } from "../../src/config/config.ts";
import type { Registries } from "../../src/domain/model/registries.ts";
import type { Chance } from "./chance.ts";
import { calm, type Weather } from "./faults.ts";
import type { Image } from "./guest.ts";
import type { Kill } from "./killer.ts";
import type { LocalVolumes } from "./local-volumes.ts";
import type { Workload } from "./pods.ts";
import type { Severity } from "./severity.ts";
import { zones, type ZonalVolumes } from "./zonal-volumes.ts";

/** What an operator may change between two runs. */
export interface Wish {
  image: string;
  slots: number;
  /** Counter that rolls the pool without any other change. */
  rollout: number;
  /** Of the agents. @default that of the scenario */
  strategy?: Record<string, unknown>;
  /** Longest drain. @default 180 */
  drainSeconds?: number;
  /** Further pools of agents. @default none */
  others?: readonly OtherPool[];
  /** Undefined: they stay as planted. */
  servers?: { image: string; count: number; cores: number; replaceOnlyServer?: boolean };
  /** Private registries of all nodes. @default none */
  registries?: Registries;
  /** More keys of the site. */
  site?: Record<string, unknown>;
  /** More keys of the pool of agents. */
  pool?: Record<string, unknown>;
}

/** A pool of agents beside the one that every story has. */
export interface OtherPool {
  name: string;
  /** Its first VMID. */
  first: number;
  image: string;
  slots: number;
  rollout: number;
  strategy: Record<string, unknown>;
}

/** A host fault: something that happens to a machine. */
export interface Blow {
  what: "flap" | "hang" | "power cut" | "move" | "partition";
  whom: "servers" | "workers";
  /** `join`: it strikes the node that has joined; `join of another`: another node. */
  after: "start" | "join" | "join of another";
  /** Milliseconds after that. */
  at: number;
}

/** One run and what happens during it. */
export interface Act {
  wish: Wish;
  weather: Weather;
  blows: Blow[];
  kill: Kill | undefined;
  /** Time until the next act, in milliseconds. */
  pause: number;
}

/** Everything that a seed decides before its story begins. */
export interface Scenario {
  servers: number;
  strategy: Record<string, unknown>;
  /** The configuration before the first act. */
  before: Wish;
  planted: boolean;
  /** Whether the first acts create the cluster: nothing is planted. @default false */
  creation?: boolean;
  workloads: Workload[];
  acts: Act[];
  /** Volumes that only one node can reach; undefined: there are none. */
  localVolumes?: LocalVolumes | undefined;
  /** Volumes that are bound to a zone; undefined: there are none, and no zones. */
  zonalVolumes?: ZonalVolumes | undefined;
  /** Whether the cluster may be destroyed. @default false */
  allowDestroy?: boolean | undefined;
  /** The act before which people shut the whole site down. @default never */
  siteOff?: number;
}

export const rke2 = "v1.34.4+rke2r1";
export const imageOf = (version: number, fault: Image["fault"]): Image => ({
  name: `ubuntu-24.04-rke2-v1.${version}.0`,
  rke2,
  fault,
});

/** The last image is always good: the pool ends on it when another image was judged failed. */
export function imagesOf(chance: Chance): Image[] {
  const fault = chance.happens(0.15) ? chance.pick(["never-ready", "no-agent"] as const) : undefined;
  return [imageOf(0, undefined), imageOf(1, fault), imageOf(2, undefined)];
}

export function scenarioOf(chance: Chance, images: readonly Image[], severity: Severity): Scenario {
  const rolls = chance.pick(["agents", "agents", "agents", "servers", "servers", "both"] as const);
  const slots = rolls === "agents" ? chance.between(1, 5) : chance.between(1, 2);
  const first = images[0]?.name ?? "";
  const count = rolls === "agents" ? chance.pick([1, 3]) : chance.pick([1, 3, 3, 3, 3]);
  const before: Wish = { image: first, slots, rollout: 0, servers: { image: first, count, cores: 4 } };
  const acts: Act[] = [];
  let wish: Wish = before;
  const runs = chance.between(...severity.acts[rolls === "agents" ? "agents" : "others"]);
  for (let act = 0; act < runs; act += 1) {
    if (rolls !== "servers")
      wish = act === 0 ? { ...wish, image: images[1]?.name ?? "" } : nextWish(chance, wish, images);
    if (rolls !== "agents") wish = nextServers(chance, wish, images, act);
    acts.push(actOf(chance, wish, rolls, severity));
  }
  return {
    servers: count,
    strategy: strategyOf(chance, slots),
    before,
    planted: rolls === "servers" || chance.happens(0.85),
    workloads: Array.from({ length: chance.between(1, 3) }, (_, number) => workloadOf(chance, number)),
    acts,
  };
}

/** Turns a scenario into one that begins with nothing: runs that create the cluster come before its first act. */
export function creationOf(chance: Chance, scenario: Scenario): Scenario {
  const { before, acts } = scenario;
  const servers = before.servers?.count ?? 1;
  const latest = servers === 1 ? 150 : chance.pick([100, 450]);
  const creations = Array.from({ length: chance.between(1, 3) }, (): Act => {
    const kill = {
      request: chance.between(1, latest),
      side: chance.pick(["before", "after"] as const),
      what: chance.pick(["tree", "tree", "engine", "step", "plugin", "interrupt"] as const),
    };
    const blows = Array.from({ length: chance.pick([0, 0, 1, 2]) }, () => ({
      what: chance.pick(["hang", "power cut", "move"] as const),
      whom: "servers" as const,
      after: "start" as const,
      at: chance.between(0, 90_000),
    }));
    return {
      wish: before,
      weather: chance.pick([weatherOf, aimedAt, () => ({ ...calm })])(chance),
      blows,
      kill: chance.happens(0.6) ? kill : undefined,
      pause: chance.pick([0, 200, 5000, 60_000]),
    };
  });
  return {
    ...scenario,
    localVolumes: undefined,
    zonalVolumes: undefined,
    planted: false,
    creation: true,
    acts: [...creations, ...acts.slice(0, 1)],
  };
}

/** Registries with a password of this number. */
export function registriesOf(number: number): Registries {
  return { configs: { "registry.example.org": { auth: { username: "puller", password: `a password ${number}` } } } };
}

/** In one of four stories there are registries: from the beginning or not, and their password is changed at times. */
export function withRegistries(chance: Chance, scenario: Scenario): Scenario {
  if (!chance.happens(0.25)) return scenario;
  let number = chance.pick([0, 1]);
  const told = (wish: Wish): Wish => (number === 0 ? wish : { ...wish, registries: registriesOf(number) });
  const before = told(scenario.before);
  const acts = scenario.acts.map((act) => {
    if (act.wish !== scenario.before && chance.happens(0.6)) number += 1;
    return { ...act, wish: act.wish === scenario.before ? before : told(act.wish) };
  });
  return { ...scenario, before, acts };
}

function nextWish(chance: Chance, wish: Wish, images: readonly Image[]): Wish {
  if (chance.happens(0.4)) return wish;
  if (chance.happens(0.3)) return { ...wish, slots: Math.max(1, wish.slots + chance.pick([-1, 1])) };
  if (chance.happens(0.5)) return { ...wish, image: chance.pick(images).name };
  return { ...wish, rollout: wish.rollout + 1 };
}

function nextServers(chance: Chance, wish: Wish, images: readonly Image[], act: number): Wish {
  const { servers } = wish;
  if (servers === undefined || (act > 0 && chance.happens(0.4))) return wish;
  // The only server is not replaced; two more are added.
  if (servers.count === 1) return { ...wish, servers: { ...servers, count: 3 } };
  const image = act === 0 ? (images[1]?.name ?? "") : chance.pick(images).name;
  return { ...wish, servers: { ...servers, image } };
}

function actOf(chance: Chance, wish: Wish, rolls: "agents" | "servers" | "both", severity: Severity): Act {
  const what = chance.pick(["tree", "tree", "engine", "step", "plugin", "interrupt"] as const);
  // A node is cloned and configured by one request each, and its predecessor is destroyed by one.
  const latest = what === "plugin" ? 3 * wish.slots : 40 + 60 * wish.slots + (rolls === "agents" ? 0 : 500);
  const kill = {
    request: chance.between(1, latest),
    side: chance.pick(["before", "after"] as const),
    what,
  };
  const blows = chance.happens(severity.blows.share)
    ? Array.from({ length: chance.between(1, severity.blows.most) }, () => ({
        ...momentOf(chance, rolls === "agents" ? 60_000 : 240_000),
        what: chance.pick(["flap", "partition", "hang", "power cut", "power cut", "move"] as const),
        whom: rolls === "agents" ? "workers" : chance.pick(["servers", "servers", "workers"] as const),
      }))
    : [];
  return {
    wish,
    weather: chance.pick([weatherOf, weatherOf, aimedAt, aimedAt, () => ({ ...calm })])(chance),
    blows,
    kill: chance.happens(severity.kill) ? kill : undefined,
    pause: chance.pick([0, 200, 5000, 60_000]),
  };
}

function momentOf(chance: Chance, latest: number): Pick<Blow, "after" | "at"> {
  const after = chance.pick(["start", "join", "join of another"] as const);
  return { after, at: after === "start" ? chance.between(0, latest) : chance.pick([0, chance.between(0, 20_000)]) };
}

function weatherOf(chance: Chance): Weather {
  const share = () => chance.pick([0, 0.002, 0.01, 0.03]);
  return {
    pve: share(),
    kube: share(),
    watch: chance.pick([0, 0.1, 0.3]),
    slow: chance.pick([0, 0.02, 0.1]),
    aim: 0,
    task: chance.pick([0, 0.03, 0.1]),
    learner: chance.pick([0, 0, 0.3]),
  };
}

/**
 * No faults except for one request each of a few kinds: late requests of a run are struck as often as early requests.
 */
function aimedAt(chance: Chance): Weather {
  return { ...calm, aim: chance.pick([0.03, 0.08]) };
}

export function strategyOf(chance: Chance, slots: number): Record<string, unknown> {
  const kind = chance.pick(["rolling", "rolling", "blueGreen"]);
  const soakSeconds = chance.pick([0, 0, 10, 60, 600]);
  return {
    kind,
    ...(kind === "rolling" ? { surge: chance.between(1, 2) } : {}),
    maxUnavailable: slots > 4 ? chance.between(1, 2) : 1,
    ...(soakSeconds > 0 && chance.happens(0.3) ? { canary: 1 } : {}),
    soakSeconds,
    onFailure: chance.pick(["hold", "rollback"]),
  };
}

function workloadOf(chance: Chance, number: number): Workload {
  const replicas = chance.between(1, 5);
  return {
    name: `web${number}`,
    replicas,
    minAvailable: Math.max(0, replicas - chance.between(1, 2)),
    slowestEnd: chance.pick([1000, 10_000, 30_000]),
    claims: chance.happens(0.3),
  };
}

/** The stack's configuration with a wish in it. */
export function configOf(
  { servers, strategy: usual, before, localVolumes, zonalVolumes, allowDestroy }: Scenario,
  { image, slots, rollout, strategy = usual, drainSeconds = 180, others = [], servers: wanted, ...more }: Wish,
): Config {
  const { registries, site, pool: ownKeys } = more;
  const workers = { name: "workers", first: 1100, image, slots, rollout, strategy, ...ownKeys };
  return readConfig({
    cluster: "demo",
    ...(allowDestroy === undefined ? {} : { allowDestroy }),
    ...(registries && { registries }),
    site: {
      registrationAddress: "10.0.0.5",
      hosts: ["pve1", "pve2"],
      storage: "local",
      proxmoxPool: "nodes",
      templatePool: "templates",
      ...(zonalVolumes && { zones }),
      ...site,
    },
    controlPlane: {
      image: wanted?.image ?? before.image,
      servers: wanted?.count ?? servers,
      ...(wanted === undefined ? {} : { cores: wanted.cores, replaceOnlyServer: wanted.replaceOnlyServer ?? false }),
      vmIds: { first: 1000, last: 1039 },
      firstAddress: "10.0.1.10",
      firstAddress6: "fd00::1:10",
    },
    ...(localVolumes ? { localVolumes: { whenNodesLeave: "keep", keepDays: localVolumes.keepDays } } : {}),
    ...(zonalVolumes?.mayLeave === true && !localVolumes ? { localVolumes: { whenNodesLeave: "keep" } } : {}),
    pools: [workers, ...others].map(({ first, ...pool }) => ({ ...pool, vmIds: { first, last: first + 39 } })),
    timeouts: {
      agentSeconds: 60,
      joinSeconds: 120,
      drainSeconds,
      volumesSeconds: 60,
      shutdownSeconds: 30,
      leaseSeconds: 900,
      gateSeconds: 120,
    },
  });
}
