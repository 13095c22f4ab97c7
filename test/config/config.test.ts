import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { parse } from "yaml";
import { backupPolicy, ownSettings, poolSpecs, readConfig, stepSite } from "../../src/config/config.ts";
import { hardwareOfNodes } from "../../src/config/node-hardware.ts";
import { nodesOf } from "../../src/config/checks.ts";
import { generationOf } from "../../src/domain/model/generation.ts";
import { skewProblems } from "../../src/domain/rollout/servers.ts";
import { defaultTimeouts } from "../../src/domain/model/step-environment.ts";
import { IMAGES, agents, minimal, refusal } from "../support/config.ts";

describe("configuration", () => {
  it("fills in what is left out", () => {
    const config = readConfig(minimal());
    assert.deepEqual([config.controlPlane.servers, config.allowDestroy, config.site.bridge], [3, false, "vmbr0"]);
    assert.equal(config.site.storageOvercommit, 1);
    const [pool] = config.pools;
    assert.deepEqual(pool?.strategy, { kind: "rolling", maxUnavailable: 1, soakSeconds: 0, onFailure: "hold" });
    assert.deepEqual(stepSite(config), {
      registrationAddress: "10.0.0.5",
      proxmoxPool: "evergreen-nodes",
      serverPool: "servers",
      timeouts: defaultTimeouts,
    });
  });

  it("asks of a snapshot what is configured, in bytes", () => {
    assert.deepEqual(backupPolicy(readConfig(minimal())), { leastBytes: 1024 ** 2, mostSeconds: 3600 });
    const s3 = { endpoint: "https://s3.example.com", bucket: "backups", retentionDays: 30 };
    assert.deepEqual(backupPolicy(readConfig(minimal({}, { backup: { minimumKiB: 5, s3 } }))), {
      leastBytes: 5120,
      mostSeconds: 3600,
      s3: { ...s3, region: "us-east-1", prefix: "", pathStyle: false, encryption: "none", checkContent: true },
    });
  });

  it("does not let a default show in a generation", () => {
    const [, left] = poolSpecs(readConfig(minimal()), IMAGES);
    const spelled = {
      labels: {},
      taints: [],
      startupTaints: [],
      rollout: 0,
      config: {},
      cores: 4,
      memoryMiB: 8192,
      diskGiB: 40,
    };
    const [, said] = poolSpecs(readConfig(minimal(spelled)), IMAGES);
    assert.ok(left && said);
    assert.equal(generationOf(left.node).id, generationOf(said.node).id);
  });

  it("puts everything that makes a node into its generation", () => {
    const ids = [
      {},
      { image: "ubuntu-24.04-rke2-v1.1.0" },
      { cores: 5 },
      { memoryMiB: 8193 },
      { diskGiB: 41 },
      { labels: { a: "b" } },
      { taints: ["a=b:NoSchedule"] },
      { startupTaints: ["a=b:NoSchedule"] },
      { rollout: 1 },
      { config: { "kubelet-arg": ["max-pods=60"] } },
    ].map((change) => generationOf(agents(readConfig(minimal(change))).node).id);
    assert.equal(new Set(ids).size, ids.length);
  });

  it("gives pools and servers the hardware of the site, where they do not say otherwise", () => {
    const card = { bridge: "vmbr1", vlan: 20 };
    const top = minimal({ cpu: { type: "host" }, networks: [card], disks: [] });
    const defaults = { cpu: { type: "x86-64-v3", numa: true }, balloonMiB: 0, disks: [{ name: "data", sizeGiB: 5 }] };
    const config = readConfig({ ...top, site: { ...top.site, defaults } });
    const [servers, workers] = poolSpecs(config, IMAGES).map(({ node }) => node.hardware);
    assert.deepEqual(servers, defaults);
    assert.deepEqual(workers, {
      cpu: { type: "host", numa: true },
      balloonMiB: 0,
      networks: [{ ...card, model: "virtio", firewall: false }],
    });
    assert.deepEqual(hardwareOfNodes(config), [servers, workers]);
    // What is not said is in no generation.
    const [plain] = poolSpecs(readConfig(minimal()), IMAGES);
    assert.ok(plain && !("hardware" in plain.node));
  });

  it("sees no order in the flags of a CPU, and none twice", () => {
    const generation = (...flags: string[]): string =>
      generationOf(agents(readConfig(minimal({ cpu: { flags } }))).node).id;
    const sorted = generation("+aes", "+pdpe1gb", "-pcid");
    // Golden: sorted flags have the generation that they had when their order counted.
    assert.equal(sorted, "32c3af25");
    assert.equal(generation("-pcid", "+pdpe1gb", "+aes"), sorted);
    assert.equal(generation("+aes", "-pcid", "+aes", "+pdpe1gb"), sorted);
    assert.notEqual(generation("+aes"), sorted);
  });

  it("replaces servers without another change by a counter, which leaves no trace while it is zero", () => {
    const servers = (rollout: object) => {
      const top = minimal();
      const [spec] = poolSpecs(readConfig({ ...top, controlPlane: { ...top.controlPlane, ...rollout } }), IMAGES);
      assert.ok(spec);
      return spec.node;
    };
    assert.ok(!("rollout" in servers({})) && !("rollout" in servers({ rollout: 0 })));
    assert.notEqual(generationOf(servers({ rollout: 1 })).id, generationOf(servers({})).id);
  });

  it("gives servers labels and taints, which leave no trace while there are none", () => {
    const servers = (own: object) => {
      const top = minimal();
      const [spec] = poolSpecs(readConfig({ ...top, controlPlane: { ...top.controlPlane, ...own } }), IMAGES);
      assert.ok(spec);
      return spec.node;
    };
    const own = { labels: { a: "b" }, taints: ["a=b:NoExecute"], startupTaints: ["c:NoSchedule"] };
    const { labels, taints, startupTaints } = servers(own);
    assert.deepEqual({ labels, taints, startupTaints }, own);
    assert.deepEqual(
      Object.keys(own).filter((key) => key in servers({ labels: {}, taints: [], startupTaints: [] })),
      [],
    );
  });

  it("leaves everything else out of it", () => {
    const id = (change: object, top: object = {}) => generationOf(agents(readConfig(minimal(change, top))).node).id;
    const site = { ...minimal().site, dnsServers: ["10.0.0.9"], gateway: "10.0.0.1" };
    const changes = [
      id({ slots: 3 }),
      id({ strategy: { soakSeconds: 60 } }),
      id({ vmIds: { first: 300, last: 399 }, firstAddress: "10.0.0.100" }),
      id({ addresses6: ["fd00::100-fd00::1ff"] }),
      id({ firstAddress6: "fd00::20" }, { site: { ...site, gateway6: "fd00::1", prefixLength6: 112 } }),
      id({ ip6: "auto" }),
      id({}, { site }),
      id({}, { timeouts: { joinSeconds: 5 } }),
    ];
    assert.deepEqual(
      changes,
      changes.map(() => id({})),
    );
  });

  it("makes pools of it, the servers first", () => {
    const strategy = {
      kind: "blueGreen",
      maxUnavailable: "30%",
      canary: "10%",
      soakSeconds: 600,
      onFailure: "rollback",
    };
    const config = readConfig(minimal({ slots: 20, vmIds: { first: 200, last: 299 }, strategy }));
    const [servers, workers] = poolSpecs(config, IMAGES);
    assert.deepEqual([servers?.name, servers?.role, servers?.slots], ["servers", "server", 3]);
    assert.deepEqual(workers?.strategy, {
      kind: "blueGreen",
      surge: 20,
      maxUnavailable: 6,
      canary: { nodes: 2 },
      soakSeconds: 600,
      onFailure: "rollback",
    });
    assert.deepEqual(workers.range, { first: 200, last: 299 });
    assert.equal(workers.node.rke2, "v1.34.4+rke2r1");
  });

  it("gives further names of the servers to the servers alone", () => {
    const [servers, workers] = poolSpecs(
      readConfig(minimal({}, { site: { ...minimal().site, tlsSans: ["a.example"] } })),
      IMAGES,
    );
    assert.deepEqual([servers?.node.config, workers?.node.config], [{ "tls-san": ["a.example"] }, {}]);
  });

  it("rounds for safety: surge and canary up, maxUnavailable down, and never to nothing", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 500 }), (percent, slots) => {
        const exact = (percent * slots) / 100;
        const down = nodesOf(`${percent}%`, slots, Math.floor);
        const up = nodesOf(`${percent}%`, slots, Math.ceil);
        assert.ok(down >= 1 && up >= down && up - exact < 1);
        assert.ok(down <= exact || down === 1);
      }),
    );
    const strategy = { surge: "12%", maxUnavailable: "39%", canary: "12%", soakSeconds: 9 };
    const shares = readConfig(minimal({ slots: 20, vmIds: { first: 200, last: 299 }, strategy }));
    const { surge, maxUnavailable, canary } = poolSpecs(shares, IMAGES)[1]?.strategy ?? {};
    assert.deepEqual([surge, maxUnavailable, canary], [3, 7, { nodes: 3 }]);
  });

  it("takes a switch as the engine writes it", () => {
    const texts = {
      "evergreen:allowDestroy": "true",
      "evergreen:cluster": "demo",
      "evergreen:pools": "[]",
      "aws:region": "x",
    };
    assert.deepEqual(ownSettings(texts), { allowDestroy: true, cluster: "demo", pools: [] });
    assert.deepEqual(ownSettings({ "evergreen:allowDestroy": false }), { allowDestroy: false });
  });

  it("takes the RKE2 keys that do no harm, and none less than slots for one at a time", () => {
    const config = {
      "write-kubeconfig-mode": "0644",
      "kubelet-arg": ["max-pods=200"],
      "etcd-s3-config-secret": "s3",
      cni: "cilium",
      "service-node-port-range": "30000-32000",
    };
    assert.deepEqual(readConfig(minimal({ config })).pools[0]?.config, config);
    for (const maxUnavailable of [0, "0%"]) {
      const specs = poolSpecs(readConfig(minimal({ strategy: { maxUnavailable, surge: 2 } })), IMAGES);
      assert.equal(specs[1]?.strategy.maxUnavailable, 1);
    }
  });

  it("refuses every setting of the Proxmox provider's own: the provider alone would go to another Proxmox", () => {
    const endpoint = "https://other.example.com:8006";
    const said = refusal(() =>
      ownSettings({ "evergreen:cluster": "demo", "proxmoxve:endpoint": endpoint, "proxmoxve:apiToken": "a@b!c=d" }),
    );
    assert.match(said, /^proxmoxve:endpoint is set: .*\n.*\n.*pulumi config rm proxmoxve:endpoint/);
    assert.match(said, /^proxmoxve:apiToken is set/m);
    assert.ok(!said.includes("a@b!c=d"));
  });

  it("names an image that is not there, with those that are", () => {
    const lost = refusal(() => poolSpecs(readConfig(minimal({ image: "other-v1.0.0" })), IMAGES));
    assert.match(
      lost,
      /there is no template other-v1\.0\.0\n {2}where: evergreen:pools\[0\]\.image \(workers\)\n.*rke2-v1\.0\.0, ubuntu/,
    );
    const wrong = refusal(() =>
      poolSpecs(readConfig(minimal()), new Map([...IMAGES, ["ubuntu-24.04-rke2-v1.0.0", "1.34"]])),
    );
    assert.match(wrong, /tagged with "1\.34", which is not an RKE2 version/);
  });
});

describe("stack files", () => {
  for (const stack of ["dev", "prod"]) {
    it(`${stack} is right`, async () => {
      const config = readConfig(await own(stack));
      const specs = poolSpecs(config, IMAGES);
      assert.equal(specs.length, config.pools.length + 1);
      assert.equal(config.allowDestroy, stack === "dev");
    });
  }

  it("dev is the lab: agents can go up to the image of the servers", async () => {
    const config = readConfig(await own("dev"));
    assert.deepEqual([config.cluster, config.pools.map((pool) => pool.name)], ["demo", ["workers"]]);
    // Not which image the workers have: whoever follows the README has just changed it.
    const [servers, workers] = poolSpecs(config, IMAGES);
    assert.deepEqual(workers && skewProblems(workers, [servers?.node.rke2 ?? ""]), []);
    assert.equal(agents(config).range.firstAddress, "127.40.0.101");
  });

  it("prod shows every part of a strategy", async () => {
    const config = readConfig(await own("prod"));
    assert.deepEqual(
      config.pools.map((pool) => pool.strategy.kind),
      ["blueGreen", "rolling"],
    );
    assert.deepEqual(agents(config).strategy.canary, { nodes: 2 });
  });
});

async function own(stack: string): Promise<Record<string, unknown>> {
  const text = await readFile(new URL(`../../Pulumi.${stack}.yaml`, import.meta.url), "utf8");
  return ownSettings((parse(text) as { config: Record<string, unknown> }).config);
}
