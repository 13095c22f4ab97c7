import { poolSpecs, readConfig, type Config } from "../../src/config/config.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { catalogue, type ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { generationOf, nodeName } from "../../src/domain/model/generation.ts";
import type { ObservedNode, ObservedVm, NodeRecord, NodeSpec, PoolRecord } from "../../src/domain/model/types.ts";

export const OLD = "ubuntu-24.04-rke2-v1.0.0";
export const NEW = "ubuntu-24.04-rke2-v1.1.0";

/** Configuration of a small site: one server, two workers. @param changes replaces whole keys below `evergreen:` */
export function smallConfig(changes: Record<string, unknown> = {}): Config {
  return readConfig({
    cluster: "demo",
    site: { registrationAddress: "127.9.0.5", hosts: ["pve1"], storage: "local", proxmoxPool: "nodes" },
    controlPlane: { image: OLD, servers: 1, vmIds: { first: 1000, last: 1009 } },
    pools: [{ name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 } }],
    ...changes,
  });
}

/** The observed state of a site without any node. */
export function picture(changes: Partial<ObservedCluster> = {}): ObservedCluster {
  const image = (name: string, vmid: number, rke2: string) =>
    [name, { name, rke2, templates: [{ vmid, host: "pve1" }] }] as const;
  return {
    images: new Map([image(OLD, 9001, "v1.34.4+rke2r1"), image(NEW, 9002, "v1.34.5+rke2r1")]),
    unusable: new Map(),
    vms: [],
    nodes: [],
    records: new Map(),
    adoption: { problems: [], pending: [], released: [] },
    takenVmids: [9001, 9002],
    hiddenVmids: [],
    kubernetes: undefined,
    ...changes,
  };
}

/**
 * Observed state that matches the configuration: all nodes serve, and their generations are proved.
 * @param changes see `smallConfig`
 */
export function settledPicture(
  changes: Record<string, unknown>,
  kubernetes: Kubernetes,
  since: string,
): ObservedCluster {
  const pools = poolSpecs(smallConfig(changes), catalogue(picture()));
  const members = pools.flatMap(({ name, slots, node, range }) =>
    Array.from({ length: slots }, (_, slot) => running(name, slot, node, range.first + slot)),
  );
  const vms = members.map(({ vm }) => vm);
  const records = pools.map(({ name: pool, node }): PoolRecord => {
    const nodes = vms
      .filter((vm) => vm.pool === pool)
      .map(({ name, slot, generation, vmid, uuid }): NodeRecord => {
        return { name, slot, generation, vmid, uuid, phase: "handedOver", since };
      });
    return { pool, generations: [{ ...generationOf(node), state: "proved", since }], nodes };
  });
  return picture({
    vms,
    nodes: members.map(({ node }) => node),
    records: new Map(records.map((record) => [record.pool, record])),
    takenVmids: vms.map(({ vmid }) => vmid),
    kubernetes,
  });
}

/** A node that runs and is Ready. */
export function running(
  pool: string,
  slot: number,
  spec: NodeSpec,
  vmid: number,
): { vm: ObservedVm; node: ObservedNode } {
  const generation = generationOf(spec).id;
  const name = nodeName("demo", pool, slot, generation);
  const common = { name, uuid: `uuid-${vmid}`, pool, slot, generation };
  const role = pool === "servers" ? "server" : "agent";
  return {
    vm: { ...common, vmid, host: "pve1", running: true },
    node: { ...common, ready: true, schedulable: true, kubelet: spec.rke2, role },
  };
}
