import assert from "node:assert/strict";
import { defaultTimeouts, environmentOf, variables } from "../../src/domain/model/step-environment.ts";
import type { PoolPlan, SlotPlan } from "../../src/domain/model/types.ts";
import { readGuardInput, readPoolInput, readSlotInput } from "../../src/steps/input.ts";
import { joinData } from "../../src/steps/node/join-data.ts";
import { parse } from "yaml";

const spec = { image: "ubuntu-24.04-rke2-v1.0.0", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
const site = {
  registrationAddress: "rke2.example",
  proxmoxPool: "evergreen-nodes",
  serverPool: "servers",
  timeouts: defaultTimeouts,
};
const strategy = { kind: "rolling", surge: 1, maxUnavailable: 2, soakSeconds: 0, onFailure: "hold" } as const;
const slot: SlotPlan = {
  slot: 3,
  generation: { id: "0a1b2c3d", spec },
  name: "demo-workers-3-0a1b2c3d",
  vmid: 1103,
  address: "10.0.0.3",
  creates: true,
  replaces: ["demo-workers-3-00000000"],
};
const plan: PoolPlan = {
  pool: "workers",
  role: "agent",
  kind: "roll",
  target: slot.generation,
  slots: [slot],
  leaving: ["demo-workers-9-00000000"],
  unreplaced: [],
  kept: [],
  unhealthy: [],
  strategy,
  verdict: { generation: "0a1b2c3d", state: "proved", watchSeconds: 5 },
  words: ["replaces 1 node"],
  digest: "d1",
};
const slotEnvironment = environmentOf({
  cluster: "demo",
  site,
  pool: "workers",
  role: "agent",
  strategy,
  slot,
  rollout: "r",
});
const poolEnvironment = environmentOf({ cluster: "demo", site, plan });

describe("what a step is told", () => {
  it("arrives as it was sent: a slot", () => {
    assert.deepEqual(readSlotInput(slotEnvironment), {
      cluster: "demo",
      site,
      pool: "workers",
      role: "agent",
      strategy,
      slot: 3,
      node: slot.name,
      vmid: 1103,
      madeVmid: undefined,
      address: "10.0.0.3",
      address6: undefined,
      unreachable: undefined,
      allowDestroy: false,
      generation: "0a1b2c3d",
      spec,
      rollout: "r",
    });
    assert.equal(readSlotInput({ ...slotEnvironment, [variables.madeVmid]: "1104" }).madeVmid, 1104);
  });

  it("arrives as it was sent: a pool, and the output of another step as its id", () => {
    const input = readPoolInput({ ...poolEnvironment, [variables.rollout]: '{"rollout":"abc"}\n' });
    assert.deepEqual(input.target, slot.generation);
    assert.deepEqual(input.verdict, plan.verdict);
    assert.deepEqual(input.plan.slots, [{ slot: 3, name: slot.name, vmid: 1103, generation: "0a1b2c3d" }]);
    assert.equal(input.rollout, "abc");
  });

  it("may lack a target and a verdict: a pool that is held", () => {
    const held: PoolPlan = { ...plan, verdict: undefined };
    delete held.target;
    const input = readPoolInput(environmentOf({ cluster: "demo", site, plan: held }));
    assert.equal(input.target, undefined);
    assert.equal(input.verdict, undefined);
  });

  it("is the same when a plan was carried out, so that nothing changes for the engine", () => {
    const over: PoolPlan = { ...plan, slots: [{ ...slot, creates: false, replaces: [] }], leaving: [], words: [] };
    assert.deepEqual(environmentOf({ cluster: "demo", site, plan: over }), poolEnvironment);
    const slotOver = environmentOf({
      cluster: "demo",
      site,
      pool: "workers",
      role: "agent",
      strategy,
      slot: over.slots[0] ?? slot,
      rollout: "r",
    });
    assert.deepEqual(slotOver, slotEnvironment);
  });

  it("holds no path and is all text", () => {
    for (const value of [...Object.values(slotEnvironment), ...Object.values(poolEnvironment)]) {
      assert.equal(typeof value, "string");
      assert.ok(!value.includes(process.cwd()));
    }
  });

  it("is refused with every variable that is wrong, at once", () => {
    assert.throws(
      () =>
        readSlotInput({
          ...slotEnvironment,
          [variables.vmid]: "12x",
          [variables.node]: "",
          [variables.site]: "{}",
          [variables.spec]: "[",
        }),
      (error: unknown) => {
        assert.ok(error instanceof Error);
        for (const name of ["EVERGREEN_VMID", "EVERGREEN_NODE", "EVERGREEN_SITE", "EVERGREEN_SPEC"])
          assert.match(error.message, new RegExp(name));
        assert.match(error.message, /EVERGREEN_SITE lacks registrationAddress, proxmoxPool, serverPool, timeouts/);
        return true;
      },
    );
    for (const name of Object.keys(slotEnvironment).filter(
      (key) => key !== variables.rollout && key !== variables.address,
    )) {
      assert.throws(() => readSlotInput({ ...slotEnvironment, [name]: undefined }), new RegExp(`${name} is missing`));
    }
    for (const name of [variables.plan, variables.cluster]) {
      assert.throws(() => readPoolInput({ ...poolEnvironment, [name]: undefined }), new RegExp(`${name} is missing`));
    }
  });

  it("arrives with the IPv6 address of its node", () => {
    const environment = environmentOf({ cluster: "demo", site, strategy, slot: { ...slot, address6: "fd00::3" } });
    assert.equal(readSlotInput({ ...slotEnvironment, ...environment }).address6, "fd00::3");
  });

  it("is refused with the path of what is wrong inside", () => {
    const timeouts = { ...defaultTimeouts, drain: "900", lease: 0 };
    const refused = (name: string, value: object, why: RegExp) =>
      assert.throws(() => readSlotInput({ ...slotEnvironment, [name]: JSON.stringify(value) }), why);
    refused(
      variables.site,
      { ...site, timeouts },
      /EVERGREEN_SITE timeouts\.drain is not of type number; timeouts\.lease/,
    );
    refused(
      variables.strategy,
      { ...strategy, surge: undefined, kind: "canary" },
      /_STRATEGY lacks surge; kind is not/,
    );
    refused(variables.spec, [], /EVERGREEN_SPEC lacks image|EVERGREEN_SPEC is not a JSON object/);
    assert.throws(
      () => readPoolInput({ ...poolEnvironment, [variables.spec]: undefined }),
      /EVERGREEN_SPEC is missing/,
    );
  });

  it("may be of another version: with keys that this one does not know, and without a wait that is newer", () => {
    const { storage, ...timeouts } = defaultTimeouts;
    const older = JSON.stringify({ ...site, timeouts, vault: "no" });
    const input = readSlotInput({ ...slotEnvironment, [variables.site]: older });
    assert.deepEqual(input.site, { ...site, timeouts: { ...timeouts, storage }, vault: "no" });
  });

  it("never takes an unclear answer for the right to destroy", () => {
    const guard = (value: string | undefined) =>
      readGuardInput({ ...environmentOf({ cluster: "demo", site }), EVERGREEN_ALLOW_DESTROY: value });
    assert.equal(guard("true").allowDestroy, true);
    assert.equal(guard("false").allowDestroy, false);
    for (const value of [undefined, "", "1", "yes", "TRUE"])
      assert.throws(() => guard(value), /EVERGREEN_ALLOW_DESTROY/);
  });
});

describe("join data", () => {
  const input = readSlotInput(slotEnvironment);
  const read = (...args: Parameters<typeof joinData>) => parse(joinData(...args)) as Record<string, unknown>;

  it("sends an agent to the registration address with its token, its labels and its taints", () => {
    const tainted = {
      ...input,
      spec: { ...spec, labels: { "example.com/rack": "r1" }, taints: ["gpu=yes:NoSchedule"] },
    };
    assert.deepEqual(read(tainted, "pve1", { token: "K10abc::x.y" }), {
      server: "https://rke2.example:9345",
      token: "K10abc::x.y",
      "node-name": "demo-workers-3-0a1b2c3d",
      "node-label": [
        "example.com/rack=r1",
        "evergreen.dev/cluster=demo",
        "evergreen.dev/pool=workers",
        "evergreen.dev/slot=3",
        "evergreen.dev/generation=0a1b2c3d",
      ],
      "node-taint": ["gpu=yes:NoSchedule"],
    });
  });

  it("says the node's addresses when it was given some of both families", () => {
    const ip = (more: object) => read({ ...input, ...more }, "pve1", { token: "t" })["node-ip"];
    assert.equal(ip({ address6: "fd00::13" }), "10.0.0.3,fd00::13");
    assert.equal(ip({}), undefined);
    assert.equal(ip({ address: undefined, address6: "fd00::13" }), undefined, "IPv4 is not known: RKE2 finds both");
  });

  it("leads to an IPv6 address in brackets, which stands plainly in a certificate", () => {
    const site = { ...input.site, registrationAddress: "fd00::5" };
    const data = read({ ...input, site, role: "server" }, "pve1", { token: "t" });
    assert.equal(data.server, "https://[fd00::5]:9345");
    assert.deepEqual(data["tls-san"], ["fd00::5"]);
  });

  it("says where the node is, where the site has zones", () => {
    const topology = { zones: { pve1: "a", pve2: "b" }, hostLabel: "topology.example.com/host" };
    const labelsOn = (host: string) =>
      (read({ ...input, site: { ...input.site, topology } }, host, { token: "t" })["node-label"] as string[])
        .filter((label) => label.startsWith("topology."))
        .toSorted();
    assert.deepEqual(labelsOn("pve2"), ["topology.example.com/host=pve2", "topology.kubernetes.io/zone=b"]);
    assert.deepEqual(labelsOn("pve3"), ["topology.example.com/host=pve3"]);
  });

  it("gives the first server neither a server nor a token, and every server the registration address in its certificate", () => {
    const first = read(
      { ...input, role: "server", spec: { ...spec, config: { "tls-san": ["a.example", "rke2.example"] } } },
      "pve1",
      undefined,
    );
    assert.equal("server" in first || "token" in first, false);
    assert.deepEqual(first["tls-san"], ["rke2.example", "a.example"]);
  });

  it("is not overruled by the pool's own configuration where it says who the node is", () => {
    const config = { "node-name": "other", "kube-reserved": "cpu=100m", server: "https://evil:9345" };
    const data = read({ ...input, spec: { ...spec, config } }, "pve1", { token: "t" });
    assert.equal(data["node-name"], input.node);
    assert.equal(data.server, "https://rke2.example:9345");
    assert.equal(data["kube-reserved"], "cpu=100m");
  });
});
