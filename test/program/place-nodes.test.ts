import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { planPools } from "../../src/program/cluster-plan.ts";
import { chooseVmHosts, poolArgs } from "../../src/program/place-nodes.ts";
import { NEW, OLD, picture, settledPicture, smallConfig } from "../support/picture.ts";

const since = "2026-03-01T11:00:00.000Z";
const workers = { name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 } };

describe("the place of a planned VM", () => {
  it("names a template where one is cloned, and of a VM that stays only while there is one", () => {
    const strategy = { canary: 1, soakSeconds: 600 };
    const config = smallConfig({
      controlPlane: { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } },
      pools: [{ ...workers, image: NEW, strategy }],
    });
    const kubernetes = { now: () => new Date(since) } as unknown as Kubernetes;
    const before = settledPicture(
      { controlPlane: { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } }, pools: [workers] },
      kubernetes,
      since,
    );
    const templatesIn = (images: readonly string[]) => {
      const observed = { ...before, images: new Map([...picture().images].filter(([name]) => images.includes(name))) };
      const [plan] = planPools(config, observed).pools;
      assert.ok(plan);
      const { slots } = poolArgs(config, { observed, places: new Map(), templates: new Map() }, plan).plan;
      return slots.map(({ vm }) => vm.template?.vmid);
    };
    assert.deepEqual(templatesIn([OLD, NEW]), [9002, 9001]);
    assert.deepEqual(templatesIn([NEW]), [9002, undefined]);
  });

  it("is on a host that the image can be cloned to, while there are as many as the pool has nodes", () => {
    const hosts = ["pve1", "pve2", "pve3"];
    const site = { registrationAddress: "127.9.0.5", hosts, storage: "local", proxmoxPool: "nodes" };
    const kubernetes = { now: () => new Date(since) } as unknown as Kubernetes;
    const hostsOf = (slots: number, shared: boolean, copies: readonly string[]) => {
      const others = { ...workers, name: "others", vmIds: { first: 1200, last: 1209 } };
      const pools = [others, { ...workers, slots, vmIds: { first: 1100, last: 1119 } }];
      const before = settledPicture({ site, pools }, kubernetes, since);
      const vms = before.vms.map((vm) => ({ ...vm, host: hosts[vm.slot % 2] ?? "" }));
      const templates = copies.map((host, i) => ({ host, vmid: 9001 + i }));
      const images = new Map([...before.images].map(([name, image]) => [name, { ...image, templates }]));
      const observed = { ...before, vms, images };
      const config = smallConfig({ site, pools: pools.map((pool) => ({ ...pool, rollout: pool === others ? 0 : 1 })) });
      const candidates = hosts.map((host) => ({ host, storage: "local", found: { freeGiB: 1000, shared } }));
      return [...chooseVmHosts(config, observed, planPools(config, observed), candidates).values()].toSorted();
    };
    assert.deepEqual(hostsOf(2, false, ["pve1", "pve2"]), ["pve1", "pve2"]);
    assert.deepEqual(hostsOf(1, false, ["pve2"]), ["pve2"]);
    assert.deepEqual(hostsOf(3, false, ["pve1", "pve2"]), hosts, "the run is refused by the third one");
    assert.deepEqual(hostsOf(2, true, ["pve1"]), ["pve2", "pve3"], "a storage that all have");
  });
});
