/** Two clusters of one kind. A new image goes to both at once, and reaches the second when all nodes of the first serve. */
import { Cluster, type ClusterArgs } from "../../components/index.ts";

const image = "ubuntu-24.04-rke2-v1.1.0";

/** @param number of the cluster: each has VMIDs and addresses of its own */
function argsOf(cluster: string, number: number): ClusterArgs {
  const [first, network] = [5000 + 1000 * number, `10.${20 + number}.0`];
  return {
    cluster,
    site: {
      registrationAddress: `${network}.5`,
      hosts: ["pve1", "pve2", "pve3"],
      storage: "ceph-vm",
      gateway: `${network}.1`,
      dnsServers: ["10.0.0.2"],
    },
    controlPlane: { image, vmIds: { first, last: first + 19 }, firstAddress: `${network}.20` },
    pools: [
      {
        name: "workers",
        image,
        slots: 6,
        vmIds: { first: first + 100, last: first + 149 },
        firstAddress: `${network}.100`,
        strategy: { surge: 2, soakSeconds: 3600, canary: 1, onFailure: "rollback" },
      },
    ],
  };
}

const staging = new Cluster("staging", argsOf("staging", 0));
const production = new Cluster("production", argsOf("production", 1), { dependsOn: [staging] });

export const generations = { staging: staging.generations, production: production.generations };
