import {
  ComponentResource,
  log,
  output,
  rootStackResource,
  runtime,
  type ComponentResourceOptions,
  type Input,
  type Output,
  type Resource,
} from "@pulumi/pulumi";
import type { local } from "@pulumi/command";
import type { Config } from "../src/config/config.ts";
import { typeTokens } from "../src/domain/model/formats.ts";
import type { Problem } from "../src/domain/model/problem.ts";
import type { PlannedCluster } from "../src/domain/rollout/planned.ts";
import { ArgumentErrors } from "./arguments.ts";
import type { ClusterArgs } from "./cluster-args.ts";
import { ControlPlane } from "./control-plane.ts";
import { clusterGuard } from "./guard.ts";
import { NodePool } from "./node-pool.ts";
import { planRead, readClusterArgs } from "./plan.ts";
import { declareImages } from "./stack-image.ts";
import type { PoolNode } from "./pool.ts";

/** What a cluster consists of. */
export interface ClusterParts {
  controlPlane: ControlPlane;
  /** Pools of agents, removed ones included while nodes or VMs of them are left. */
  pools: NodePool[];
  /** Its delete refuses a destroy that is not allowed. It comes after everything else of the cluster. */
  guard: local.Command;
}

/**
 * Declares a planned cluster: the images that its stack bakes, the control plane, then the pools of agents, and the guard
 * after all of them.
 * @param options of each part; what they depend on, all resources of the cluster wait for
 */
export function declareCluster(
  { cluster, site, allowDestroy, images = [], ...planned }: PlannedCluster,
  { dependsOn, ...options }: ComponentResourceOptions = {},
): ClusterParts {
  const { parent } = options;
  const proved = declareImages(images, parent === undefined ? {} : { parent });
  const before = [...([dependsOn ?? []].flat() as Input<Resource>[]), ...proved];
  const name = (pool: string): string => `${cluster}-${pool}`;
  const controlPlane = new ControlPlane(name(planned.controlPlane.plan.pool), planned.controlPlane, {
    ...options,
    dependsOn: before,
  });
  const after = { ...options, dependsOn: [...before, ...controlPlane.verified] };
  const pools = planned.pools.map((pool) => new NodePool(name(pool.plan.pool), pool, after));
  const all = [controlPlane, ...pools].flatMap(({ verified, kept }) => [...verified, ...kept]);
  const guard = clusterGuard(`${cluster}-guard`, { cluster, site, allowDestroy, after: all }, options);
  return { controlPlane, pools, guard };
}

const noBakes: Problem = {
  what: "a plan whose parts the program declares itself bakes no images",
  where: "images.bakes",
  todo: "declare a Cluster, which bakes them, or a GoldenImage for each, and run again once its template is there",
};

/** What the engine would keep in clear among the inputs of a component. */
const secrets = new WeakMap<Config, Pick<Config, "registries">>();

function withoutSecrets({ registries, ...config }: Config): Config {
  if (registries) secrets.set(config, { registries });
  return config;
}

const withSecrets = (config: Config): Config => ({ ...config, ...secrets.get(config) });

/** A cluster that is declared. */
interface Declared extends ClusterParts {
  planned: PlannedCluster;
}

/**
 * An RKE2 cluster on Proxmox VE: guard, control plane and pools of agents. It reads both APIs, takes the cluster's lock
 * and makes the plan of the run; then it declares what the plan says. Proxmox VE is the one of the environment
 * (`PROXMOX_VE_ENDPOINT`, `PROXMOX_VE_API_TOKEN`), the same for all clusters of a program.
 *
 * A program may have several. What `dependsOn` one comes after all its nodes serve. A cluster that is no longer declared
 * is destroyed like one of `pulumi destroy`: its guard refuses that unless `allowDestroy` was set before.
 *
 * @example
 *     const edge = new Cluster("edge", {
 *       cluster: "edge",
 *       site: { registrationAddress: "10.20.0.5", hosts: ["pve1", "pve2", "pve3"], storage: "ceph-vm" },
 *       controlPlane: { image: "ubuntu-24.04-rke2-v1.1.0", vmIds: { first: 5000, last: 5019 } },
 *       pools: [
 *         { name: "workers", image: "ubuntu-24.04-rke2-v1.1.0", slots: 6, vmIds: { first: 5100, last: 5179 } },
 *       ],
 *     });
 *     export const workers = edge.nodes.apply((pools) => pools.workers);
 */
export class Cluster extends ComponentResource<Declared> {
  /** Address in front of the servers: port 9345 for nodes that join, 6443 for the API. */
  readonly registrationAddress: Output<string>;
  /** Id of the generation that the arguments ask for, by pool; the servers are the pool `servers`. */
  readonly generations: Output<Record<string, string>>;
  /** The nodes of each pool. In a preview unknown when a pool changes, in an update known once its nodes serve. */
  readonly nodes: Output<Record<string, PoolNode[]>>;

  /**
   * @param name of the component, and no part of a node's name
   * @throws ArgumentErrors that name every wrong argument by its path
   */
  constructor(name: string, args: ClusterArgs, options?: ComponentResourceOptions) {
    super(typeTokens.cluster, name, withoutSecrets(readClusterArgs(args)), options);
    const declared = this.getData();
    this.registrationAddress = output(declared.then(({ planned }) => planned.site.registrationAddress));
    this.generations = output(declared.then(({ planned }) => wantedGenerations(planned)));
    this.nodes = output(declared.then(nodesOf));
  }

  /**
   * Plans what this run does to a cluster, and takes its lock, for a program that declares the parts itself: where
   * resources of its own come between them. It has to declare every part of the plan, as `declareCluster` does.
   * @returns plain data: the arguments of `ControlPlane`, of every `NodePool`, and of the guard
   * @throws ArgumentErrors that name every wrong argument by its path; RunError that says why the run is refused
   */
  static async plan(args: ClusterArgs): Promise<PlannedCluster> {
    const config = readClusterArgs(args);
    // Who forgets to declare the proofs would clone what nobody has proved.
    if (config.images?.bakes !== undefined) throw new ArgumentErrors(`the cluster ${config.cluster}`, [noBakes]);
    return await planRead(config);
  }

  /** What this run does to the cluster. */
  protected plan(config: Config): Promise<PlannedCluster> {
    return planRead(config);
  }

  protected override async initialize(config: Config, options: ComponentResourceOptions = {}): Promise<Declared> {
    // The engine deletes what a program that has ended did not declare. So this one must not end before all of the
    // cluster is declared, and without a plan it never ends well: then nobody calls `ended`.
    const ended = runtime.rpcKeepAlive();
    const planned = await this.plan(withSecrets(config));
    // Messages are sent one after the other, each when the URN of its resource is known. That of a cluster that depends
    // on another one is known when the other one's nodes serve, and the messages of that one must not wait behind it.
    this.urn.apply(() => planned.words.forEach((line) => void log.info(line, this)));
    // Pools of a program without this component are at the top of the stack: they may move below it.
    const aliases = [{ parent: rootStackResource }];
    const before = options.dependsOn === undefined ? {} : { dependsOn: options.dependsOn };
    const parts = declareCluster(planned, { parent: this, aliases, ...before });
    ended();
    return { ...parts, planned };
  }
}

function wantedGenerations({ generations }: PlannedCluster): Record<string, string> {
  return Object.fromEntries(
    Object.entries(generations).flatMap(([pool, id]) => (id === undefined ? [] : [[pool, id]])),
  );
}

function nodesOf({ controlPlane, pools, planned }: Declared): Record<string, Output<PoolNode[]>> {
  const servers: [string, Output<PoolNode[]>] = [planned.controlPlane.plan.pool, controlPlane.nodes];
  const agents = planned.pools.map(({ plan }, i): [string, Output<PoolNode[]>] => [
    plan.pool,
    pools[i]?.nodes ?? output([]),
  ]);
  return Object.fromEntries([servers, ...agents]);
}
