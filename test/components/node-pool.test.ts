import assert from "node:assert/strict";
import { adoptedGeneration, generationOf, nodeName } from "../../src/domain/model/generation.ts";
import { defaultTimeouts, variables } from "../../src/domain/model/step-environment.ts";
import type { NodeSpec, PlacedPool, PoolPlan, Strategy, VmPlacement } from "../../src/domain/model/types.ts";
import { graphOf, type Graph } from "../support/graph.ts";

const spec: NodeSpec = { image: "ubuntu-v1.1.0", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
const generation = generationOf(spec);
const rolling: Strategy = { kind: "rolling", surge: 2, maxUnavailable: 1, soakSeconds: 0, onFailure: "hold" };

/** A plan in which every slot in `moving` replaces a node. */
function planOf(slots: number, moving: number[], strategy: Strategy, role: PoolPlan["role"] = "agent"): PoolPlan {
  return {
    pool: "workers",
    role,
    kind: "roll",
    wanted: generation,
    strategy,
    slots: Array.from({ length: slots }, (_, slot) => ({
      slot,
      generation,
      name: nodeName("demo", "workers", slot, generation.id),
      vmid: 1100 + slot,
      address: `10.0.0.${slot + 10}`,
      creates: moving.includes(slot),
      replaces: moving.includes(slot) ? [nodeName("demo", "workers", slot, "00000000")] : [],
    })),
    leaving: [],
    unreplaced: [],
    kept: [],
    unhealthy: [],
    verdict: { generation: generation.id, state: "proved" },
    words: [],
    digest: "d",
  };
}

/** Only where one is cloned a template has to be there: that of a VM that exists may be gone. */
function placed(plan: PoolPlan): PlacedPool {
  const placeOf = (slot: number, creates: boolean): { vm: VmPlacement } => {
    const template = creates ? { template: { vmid: 9001, host: "pve1" } } : {};
    return { vm: { host: "pve1", tags: ["evergreen", `eg-slot-${slot}`], ...template } };
  };
  const slots = plan.slots.map(({ stranded, ...slot }) => ({
    ...slot,
    ...placeOf(slot.slot, slot.creates),
    ...(stranded && { stranded: stranded.map((node) => ({ ...node, ...placeOf(slot.slot, false) })) }),
  }));
  return { ...plan, slots };
}

async function declare(plan: PoolPlan, allowDestroy = false): Promise<Graph> {
  const { NodePool } = await import("../../components/node-pool.ts");
  const { ControlPlane } = await import("../../components/control-plane.ts");
  const site = {
    registrationAddress: "10.0.0.5",
    proxmoxPool: "nodes",
    serverPool: "servers",
    timeouts: defaultTimeouts,
  };
  const vms = { proxmoxPool: "nodes", storage: "local", bridge: "vmbr0", prefixLength: 24, dnsServers: [] };
  const args = { cluster: "demo", plan: placed(plan), site, allowDestroy, vms };
  const backup = { leastBytes: 1024, mostSeconds: 3600 };
  return graphOf(() =>
    plan.role === "server" ? new ControlPlane("demo-workers", { ...args, backup }) : new NodePool("demo-workers", args),
  );
}

const vm = (slot: number): string => nodeName("demo", "workers", slot, generation.id);
const claim = (slot: number): string => `${vm(slot)}-claim`;
const join = (slot: number): string => `${vm(slot)}-join`;
const handover = (slot: number): string => `demo-workers-${slot}-handover`;

describe("a node pool", () => {
  it("clones a template only where a VM is new", async () => {
    const graph = await declare(planOf(2, [1], { ...rolling, surge: 1 }));
    assert.equal(graph.named(vm(0)).inputs.clone, undefined);
    assert.notEqual(graph.named(vm(1)).inputs.clone, undefined);
  });

  it("gives a slot to a node only after it joined, and joins it only after its VM exists", async () => {
    const graph = await declare(planOf(2, [0, 1], rolling));
    for (const slot of [0, 1]) {
      assert.ok(graph.waitsFor(claim(slot), vm(slot)));
      assert.ok(graph.waitsFor(join(slot), claim(slot)));
      assert.ok(graph.waitsFor(handover(slot), join(slot)));
      assert.ok(graph.waitsFor("demo-workers-verify", handover(slot)));
    }
  });

  it("keeps rolling within surge and maxUnavailable by edges alone", async () => {
    const graph = await declare(planOf(4, [0, 1, 2, 3], rolling));
    assert.ok(!graph.waitsFor(join(1), handover(0)), "two surge VMs may run at once");
    assert.ok(graph.waitsFor(join(2), handover(0)));
    assert.ok(!graph.waitsFor(join(2), handover(1)), "a sliding window, not a batch");
    assert.ok(graph.waitsFor(vm(2), vm(0)) && !graph.waitsFor(vm(2), handover(0)), "cloned one window ahead");
    assert.ok(graph.waitsFor(handover(1), handover(0)), "one node out at a time");
  });

  it("lets nobody leave a blue-green pool before everybody has come", async () => {
    const strategy: Strategy = { ...rolling, kind: "blueGreen", maxUnavailable: 2 };
    const graph = await declare(planOf(4, [0, 1, 2, 3], strategy));
    for (const slot of [0, 1, 2, 3]) {
      assert.ok(graph.waitsFor("demo-workers-gate", join(slot)));
      assert.ok(graph.waitsFor(handover(slot), "demo-workers-gate"));
    }
    assert.ok(!graph.waitsFor(handover(1), handover(0)));
    assert.ok(graph.waitsFor(handover(2), handover(0)));
  });

  it("opens the gate of a blue-green pool after every join, also of slots that replace nobody", async () => {
    const graph = await declare(planOf(3, [0], { ...rolling, kind: "blueGreen" }));
    for (const slot of [0, 1, 2]) assert.ok(graph.waitsFor("demo-workers-gate", join(slot)));
  });

  it("creates wide: slots without a predecessor wait for nothing of each other", async () => {
    const graph = await declare(planOf(3, [], rolling));
    for (const [a, b] of [
      [0, 1],
      [1, 2],
      [2, 0],
    ] as const)
      assert.ok(!graph.waitsFor(handover(a), vm(b)) && !graph.waitsFor(vm(a), vm(b)));
  });

  it("joins servers one after the other while their VMs are cloned together", async () => {
    const graph = await declare(planOf(3, [], rolling, "server"));
    assert.ok(graph.waitsFor(join(1), join(0)) && graph.waitsFor(join(2), join(1)));
    assert.ok(!graph.waitsFor(vm(1), join(0)));
  });

  it("lets a server go before the next one joins, whichever of them are replaced", async () => {
    for (const [moving, [first = 0, second = 0, third = 0]] of [
      [
        [0, 1, 2],
        [0, 1, 2],
      ],
      [[1], [0, 2, 1]],
      [
        [0, 2],
        [1, 0, 2],
      ],
    ] as const) {
      const graph = await declare(planOf(3, [...moving], rolling, "server"));
      assert.ok(graph.waitsFor(join(second), handover(first)), String(moving));
      assert.ok(graph.waitsFor(join(third), handover(second)), String(moving));
    }
  });

  it("claims every clone at once, before it is its turn, and looks at it once more before it is destroyed", async () => {
    const graph = await declare(planOf(4, [0, 1, 2, 3], rolling));
    assert.ok(graph.waitsFor(join(2), handover(0)) && !graph.waitsFor(claim(2), handover(0)));
    const { inputs, dependencies } = graph.named(claim(2));
    assert.deepEqual([inputs.create, inputs.delete], ["claim", "release"]);
    assert.equal(graph.named(join(2)).inputs.delete, "retire");
    assert.ok(dependencies.includes(graph.named(vm(2)).urn), "the engine deletes the claim before the VM");
    const { environment } = inputs as { environment: Record<string, string> };
    assert.equal(environment[variables.madeVmid], String(graph.named(vm(2)).inputs.vmId), "the engine's own number");
  });

  it("boots servers one window ahead: no more than two run beside the slots", async () => {
    const strategy: Strategy = { ...rolling, surge: 1 };
    const graph = await declare(planOf(4, [0, 1, 2, 3], strategy, "server"));
    assert.ok(!graph.waitsFor(claim(1), handover(0)) && graph.waitsFor(join(1), handover(0)));
    assert.ok(graph.waitsFor(claim(2), handover(0)) && !graph.waitsFor(claim(2), handover(1)));
    assert.ok(graph.waitsFor(claim(3), handover(1)) && !graph.waitsFor(claim(3), handover(2)));
  });

  it("runs every claim, join and handover again when the plan changes", async () => {
    const graph = await declare(planOf(2, [0], rolling));
    for (const name of [claim(0), claim(1), join(0), join(1), handover(0), handover(1), "demo-workers-verify"])
      assert.ok(graph.waitsFor(name, "demo-workers-rollout"), name);
  });

  it("keeps the VM and the claim of a node that has left with data as they are, and not its join", async () => {
    const old = nodeName("demo", "workers", 0, "00000000");
    const gone = nodeName("demo", "workers", 7, "00000000");
    const keptOf = (slot: number, name: string) => ({
      slot,
      name,
      vmid: 1190 + slot,
      host: "pve2",
      generation: "00000000",
      spec,
      volumes: [],
    });
    const adopted = { ...keptOf(8, "worker-8.example.org"), generation: adoptedGeneration("worker-8.example.org") };
    const graph = await declare({ ...planOf(1, [0], rolling), kept: [keptOf(0, old), keptOf(7, gone), adopted] });
    assert.ok(!graph.resources.some((one) => one.name.startsWith(adopted.name)), "the engine never had it");
    for (const name of [old, gone]) {
      const kept = graph.named(name);
      const rendered = Object.keys(graph.named(vm(0)).inputs);
      assert.deepEqual(
        rendered.filter((key) => !kept.ignoreChanges.includes(key)),
        [],
        "the engine would change it",
      );
      const last = graph.named(`${name}-claim`);
      assert.deepEqual([last.inputs.delete, last.ignoreChanges], ["release", ["create", "update", "environment"]]);
      assert.deepEqual(last.dependencies, [kept.urn], "the engine deletes the claim before the VM");
      assert.ok(!graph.resources.some((one) => one.name === `${name}-join`));
      // As in the state: by another type of a parent the engine would take it for another resource.
      assert.equal(kept.urn.split("::")[2], graph.named(vm(0)).urn.split("::")[2]);
      assert.equal(last.urn.split("::")[2], graph.named(claim(0)).urn.split("::")[2]);
    }
    const { ignoreChanges } = graph.named(vm(0));
    assert.ok(!ignoreChanges.includes("poolId"), "a node that stays follows the program");
  });

  it("keeps the VM, the claim and the join of a node that cannot be asked, beside the one that has its slot", async () => {
    const away = nodeName("demo", "workers", 0, "00000000");
    const plan = planOf(1, [], rolling);
    const stranded = [{ name: away, vmid: 1190, generation: { ...generation, id: "00000000" } }];
    const slots = plan.slots.map((slot) => ({ ...slot, unreachable: { host: "pve2", own: false }, stranded }));
    const graph = await declare({ ...plan, slots });
    for (const name of [away, `${away}-claim`, `${away}-join`]) assert.ok(graph.named(name));
  });

  it("keeps what is left of a pool that is not declared any more under the same names", async () => {
    const name = nodeName("demo", "workers", 0, "00000000");
    const kept = [{ slot: 0, name, vmid: 1100, host: "pve1", generation: "00000000", spec, volumes: [] }];
    const graph = await declare({ ...planOf(0, [], rolling), kind: "remove", kept });
    assert.ok(!graph.resources.some((one) => one.name === "demo-workers-verify"), "nothing of it is rolled");
    const declared = await declare(planOf(1, [0], rolling));
    assert.equal(graph.named(name).urn, declared.named(vm(0)).urn.replace(vm(0), name));
    assert.equal(graph.named(`${name}-claim`).urn, declared.named(claim(0)).urn.replace(vm(0), name));
  });

  it("tells the steps that have a delete, and only those, when a destroy is allowed, and nothing when it is not", async () => {
    for (const allowed of [true, false]) {
      const graph = await declare(planOf(1, [], rolling), allowed);
      const told = graph.resources.filter(
        ({ inputs }) => variables.allowDestroy in ((inputs.environment as object | undefined) ?? {}),
      );
      assert.deepEqual(told.map(({ name }) => name).sort(), allowed ? [claim(0), join(0)] : []);
    }
  });

  it("tells no step a path or a secret, and no VM its power state or place", async () => {
    const graph = await declare(planOf(1, [0], rolling));
    for (const resource of graph.resources)
      assert.doesNotMatch(JSON.stringify(resource.inputs), /PVEAPIToken|\/work\/|\/home\/|K10/, resource.name);
    const node = graph.named(vm(0));
    for (const key of ["started", "onBoot", "vmId", "nodeName", "clone", "disks"])
      assert.ok(node.ignoreChanges.includes(key), key);
    assert.equal((node.inputs.clone as { retries: number }).retries, 1, "on a second try the provider owns a stranger");
  });
});
