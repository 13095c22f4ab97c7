/** The pools of a cluster beside resources of the program: one comes before the agents, one after each pool. */
import { local } from "@pulumi/command";
import { Cluster, clusterGuard, ControlPlane, NodePool } from "../../components/index.ts";

const image = "ubuntu-24.04-rke2-v1.1.0";
const plan = await Cluster.plan({
  cluster: "edge",
  site: { registrationAddress: "10.30.0.5", hosts: ["pve1"], storage: "local-lvm", gateway: "10.30.0.1" },
  controlPlane: { image, servers: 1, vmIds: { first: 7000, last: 7009 }, firstAddress: "10.30.0.20" },
  pools: [
    { name: "workers", image, slots: 3, vmIds: { first: 7100, last: 7119 }, firstAddress: "10.30.0.100" },
    { name: "ingress", image, slots: 2, vmIds: { first: 7200, last: 7209 }, firstAddress: "10.30.0.130" },
  ],
});
const { cluster, site, allowDestroy } = plan;

const servers = new ControlPlane(`${cluster}-servers`, plan.controlPlane);

// It runs again whenever a pool wants other nodes.
const announced = new local.Command(
  "announced",
  { create: 'echo "agents change: $GENERATIONS"', environment: { GENERATIONS: JSON.stringify(plan.generations) } },
  { dependsOn: servers.verified },
);

// Every pool of the plan: of one that is removed, nodes and data may be left.
const pools = plan.pools.map(
  (args) => new NodePool(`${cluster}-${args.plan.pool}`, args, { dependsOn: [...servers.verified, announced] }),
);

for (const pool of pools)
  new local.Command(`${pool.name}-inventory`, {
    create: "cat",
    stdin: pool.nodes.apply((nodes) => JSON.stringify(nodes)),
  });

const after = [servers, ...pools].flatMap(({ verified, kept }) => [...verified, ...kept]);
clusterGuard(`${cluster}-guard`, { cluster, site, allowDestroy, after });

export const addresses = Object.fromEntries(
  pools.map(({ name, nodes }) => [name, nodes.apply((all) => all.map(({ address }) => address))]),
);
