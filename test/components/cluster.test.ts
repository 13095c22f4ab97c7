import assert from "node:assert/strict";
import { ComponentResource, InputPropertiesError, type Output } from "@pulumi/pulumi";
import { Cluster, declareCluster } from "../../components/cluster.ts";
import { NodePool } from "../../components/node-pool.ts";
import type { ClusterArgs } from "../../components/cluster-args.ts";
import type { PoolNode } from "../../components/pool.ts";
import { nodeName } from "../../src/domain/model/generation.ts";
import { bakeOrder } from "../../src/config/bake-order.ts";
import type { PlannedCluster, PlannedImage } from "../../src/domain/rollout/planned.ts";
import { graphOf, type Graph } from "../support/graph.ts";
import { generation, plannedCluster, plannedPool } from "../support/planned.ts";

/** A cluster whose plan is given instead of made. */
class Planned extends Cluster {
  protected override async plan({ cluster }: { cluster: string }): Promise<PlannedCluster> {
    // As long as a program's own code and all of its other resources need.
    await new Promise((resolve) => setTimeout(resolve, 50));
    return plannedCluster(cluster);
  }
}

/** Arguments of a cluster; each number has VMIDs and addresses of its own. */
function argsOf(cluster: string, number: number): ClusterArgs {
  const first = 100_000 + number * 1000;
  return {
    cluster,
    site: { registrationAddress: `10.0.${number}.5`, hosts: ["pve1"], storage: "local" },
    controlPlane: { image: "ubuntu-v1.1.0", servers: 1, vmIds: { first, last: first + 9 } },
    pools: [{ name: "workers", image: "ubuntu-v1.1.0", slots: 1, vmIds: { first: first + 100, last: first + 199 } }],
  };
}

const node = (cluster: string, pool: string): string => nodeName(cluster, pool, 0, generation.id);
const command = "command:local:Command";
const vm = "proxmoxve:index/vmLegacy:VmLegacy";

describe("a cluster at the top of a stack", () => {
  it("has the names that the states of all stacks have", async () => {
    const graph = await graphOf(() => declareCluster(plannedCluster("demo")));
    const urns = graph.resources.map(({ urn }) =>
      urn.split("::").slice(2).join("::").replace("pulumi:pulumi:Stack$", ""),
    );
    // The mocks have only the type of the parent in a name.
    const [inPool, inSlot] = ["evergreen:index:NodePool", "evergreen:index:Slot"];
    const pools = ["servers", "workers"].flatMap((pool) => {
      const name = node("demo", pool);
      return [
        ...[`${inPool}::demo-${pool}`, `${inPool}$${inSlot}::demo-${pool}-0`],
        ...[`${inPool}$${command}::demo-${pool}-rollout`, `${inPool}$${command}::demo-${pool}-verify`],
        ...(pool === "servers" ? [`${inPool}$${command}::demo-servers-snapshot`] : []),
        ...[`${inSlot}$${vm}::${name}`, `${inSlot}$${command}::${name}-claim`, `${inSlot}$${command}::${name}-join`],
        `${inSlot}$${command}::demo-${pool}-0-handover`,
      ];
    });
    const stack = urns.filter((urn) => !urn.startsWith("pulumi:pulumi:Stack"));
    assert.deepEqual(stack.toSorted(), [...pools, `${command}::demo-guard`].toSorted());
  });

  it("gives agents their turn after the servers, and is guarded by what comes after everything", async () => {
    const graph = await graphOf(() => declareCluster(plannedCluster("demo")));
    assert.ok(graph.waitsFor("demo-workers-rollout", "demo-servers-verify"));
    for (const pool of ["servers", "workers"]) assert.ok(graph.waitsFor("demo-guard", `demo-${pool}-verify`));
  });
});

describe("a cluster whose stack bakes its images", () => {
  const image = (vmid: number, name: string, more: Partial<PlannedImage> = {}): PlannedImage => {
    const bake = bakeOrder("images/ubuntu-24-04-rke2", {
      ...{ vmid, range: { first: 9100, last: 9199 } },
      place: {
        ...{ host: "pve1", pool: "templates", storage: "local", imageStorage: "images", bridge: "vmbr0" },
        ...{ cores: 2, memoryMiB: 4096 },
      },
    });
    const definition = { ...bake.definition, name };
    const builder = { stack: "evergreen/test", version: "0.1.0" };
    return { order: { bake: { ...bake, definition }, vmid: vmid + 50, records: "records", builder }, ...more };
  };
  const version = "v1.0.0";
  let graph: Graph;

  before(async () => {
    const images = [image(9100, "fresh", { dueSince: "2026-08-01T00:00:00.000Z" }), image(9101, "settled")];
    graph = await graphOf(() => declareCluster({ ...plannedCluster("baked"), images }));
  });

  it("makes, changes and removes nothing before each of them is proved", () => {
    const own = graph.resources.filter(({ name, type }) => name.startsWith("baked-") && !type.startsWith("evergreen:"));
    assert.ok(own.length > 10);
    for (const { name } of own)
      for (const proof of [`fresh-${version}-proof`, `settled-${version}-proof`])
        assert.ok(graph.waitsFor(name, proof), `${name} waits for ${proof}`);
    assert.ok(graph.waitsFor(`fresh-${version}-proof`, `fresh-${version}`));
  });

  it("runs the steps of what is due in any case, and no others", () => {
    const of = (name: string) => {
      const { inputs, ignoreChanges } = graph.named(name);
      return { due: (inputs.environment as Record<string, string>).EVERGREEN_DUE, ignoreChanges };
    };
    for (const step of ["", "-proof"]) {
      assert.deepEqual(of(`fresh-${version}${step}`), { due: "2026-08-01T00:00:00.000Z", ignoreChanges: [] });
      const { due, ignoreChanges } = of(`settled-${version}${step}`);
      assert.deepEqual([due, ignoreChanges], ["never", ["create", "update", "environment"]]);
    }
  });

  it("has no step that removes a template, a record or a base image", () => {
    for (const name of [`fresh-${version}`, `fresh-${version}-proof`, `settled-${version}`])
      assert.equal(graph.named(name).inputs.delete, undefined);
  });

  it("bakes one after the other where all guests have one address", async () => {
    const address = { cidr: "10.0.0.9/24", gateway: "10.0.0.1", nameservers: [] };
    const images = [image(9100, "one"), image(9101, "two")].map(({ order }) => {
      const { bake } = order;
      return { order: { ...order, bake: { ...bake, place: { ...bake.place, address } } } };
    });
    const one = await graphOf(() => declareCluster({ ...plannedCluster("queued"), images }));
    assert.ok(one.waitsFor(`two-${version}`, `one-${version}-proof`));
    assert.ok(!graph.waitsFor(`settled-${version}`, `fresh-${version}-proof`));
  });

  it("is refused as a plan whose parts a program declares itself", async () => {
    const args = argsOf("parts", 20);
    const bakes = {
      images: [{ image: "ubuntu-24-04-rke2-v1.0.0", vmid: 9100, proofVmid: 9150 }],
      range: { first: 9100, last: 9199 },
      place: { host: "pve1", imageStorage: "images" },
    };
    await assert.rejects(
      Cluster.plan({ ...args, images: { bakes } }),
      /declares itself bakes no images[^]*images\.bakes/,
    );
  });
});

describe("a cluster as a component", () => {
  it("declares everything before the program ends, though its plan takes a while", async () => {
    const graph = await graphOf(() => new Planned("late", argsOf("late", 1)));
    assert.ok(graph.waitsFor("late-guard", node("late", "workers")));
  });

  it("keeps the credentials of its registries out of the state, but for secrets of its steps", async () => {
    const password = "a password of the registry";
    const registries = { configs: { "registry.example.org": { auth: { username: "puller", password } } } };
    let told: unknown;
    class Knowing extends Planned {
      protected override async plan(config: Parameters<Planned["plan"]>[0] & { registries?: object }) {
        told = config.registries;
        const { controlPlane, pools, ...planned } = await super.plan(config);
        return { ...planned, controlPlane: { ...controlPlane, registries }, pools };
      }
    }
    const graph = await graphOf(() => new Knowing("safe", { ...argsOf("safe", 19), registries }));
    assert.deepEqual(told, registries);
    const shown = graph.resources.filter(({ inputs }) => JSON.stringify(inputs).includes(password));
    assert.deepEqual(
      shown.map(({ name }) => name),
      ["safe-servers-registries", `${node("safe", "servers")}-join`, "safe-servers-registries-rest"],
    );
    const SECRET = "1b47061264138c4ac30d75fd1eb44270";
    for (const { inputs } of shown) assert.ok(JSON.stringify(inputs.environment).includes(SECRET));
  });

  it("takes over the resources of a stack that has had it at its top", async () => {
    const graph = await graphOf(() => new Planned("moved", argsOf("moved", 2)));
    // What is below these follows them.
    for (const name of ["moved-servers", "moved-workers", "moved-guard"]) {
      const found = graph.resources.find((one) => one.name === name);
      assert.match(found?.urn ?? "", /::evergreen:index:Cluster\$/);
      assert.ok(found?.mayBeAtTop, name);
    }
  });

  it("begins after what it depends on, and ends before what depends on it", async () => {
    const graph = await graphOf(() => {
      const before = new NodePool("before", plannedPool("early", "before", 1));
      const cluster = new Planned("middle", argsOf("middle", 3), { dependsOn: before.verified });
      new NodePool("after", plannedPool("later", "after", 1), { dependsOn: [cluster] });
    });
    for (const pool of ["servers", "workers"]) {
      assert.ok(graph.waitsFor(node("middle", pool), "early-before-verify"));
      assert.ok(graph.waitsFor("later-after-rollout", `middle-${pool}-verify`));
    }
  });

  it("is one of several, none of which waits for another", async () => {
    const graph = await graphOf(() => {
      for (const [at, cluster] of ["one", "two"].entries()) new Planned(cluster, argsOf(cluster, 4 + at));
    });
    for (const [own, other] of [
      ["one", "two"],
      ["two", "one"],
    ] as const)
      for (const { name } of graph.resources.filter((one) => one.name.startsWith(`${other}-`) && one.type === command))
        assert.ok(!graph.waitsFor(`${own}-guard`, name), `${own} waits for ${name}`);
  });

  it("says its nodes, its generations and its address", async () => {
    let said: unknown;
    await graphOf(async () => {
      const cluster = new Planned("said", argsOf("said", 6));
      said = await valueOf([cluster.nodes, cluster.generations, cluster.registrationAddress]);
    });
    const nodes = (pool: string, vmid: number): PoolNode[] => [{ slot: 0, name: node("said", pool), vmid }];
    assert.deepEqual(said, [
      { servers: nodes("servers", 1000), workers: nodes("workers", 1100) },
      { servers: generation.id, workers: generation.id },
      "10.0.0.5",
    ]);
  });

  it("is refused with the path of each wrong argument, before anything is declared", () => {
    const { controlPlane, ...args } = argsOf("refused", 7);
    const wrong = { ...args, controlPlane: { ...controlPlane, servers: 2 }, site: { ...args.site, prefixLength: 31 } };
    refused(
      () => new Planned("refused", { ...args, controlPlane: { ...controlPlane, image: "ubuntu" } }),
      ["controlPlane.image"],
    );
    refused(() => new Planned("refused", wrong), ["site.prefixLength"]);
    refused(() => new Planned("refused", { ...wrong, site: args.site }), ["controlPlane.servers"]);
  });

  it("is refused when it would take names, VMIDs or addresses of another cluster of the program", async () => {
    await graphOf(() => new Planned("first", argsOf("first", 8)));
    const { site, ...same } = argsOf("first", 8);
    refused(
      () => new Planned("again", { ...same, site }),
      [...["cluster", "site.registrationAddress", "controlPlane.vmIds", "pools[0].vmIds"]],
    );
    refused(() => new Planned("again", { ...argsOf("again", 9), site }), ["site.registrationAddress"]);
  });
});

function refused(declare: () => ComponentResource, paths: readonly string[]): void {
  assert.throws(declare, (error) => {
    assert.ok(InputPropertiesError.isInstance(error), String(error));
    assert.deepEqual(
      error.errors.map(({ propertyPath }) => propertyPath),
      paths,
    );
    assert.doesNotMatch(error.message, /evergreen:/);
    return true;
  });
}

function valueOf(outputs: Output<unknown>[]): Promise<unknown> {
  return Promise.all(outputs.map((one) => new Promise((resolve) => one.apply(resolve))));
}
