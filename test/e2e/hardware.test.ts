import assert from "node:assert/strict";
import { site as labSite } from "../../lab/proxmox/site.ts";
import { Operator } from "../lab/support/operator.ts";
import { refused } from "./refusal.ts";
import { Site } from "./site.ts";

/** A site of two hosts with storage of their own, whose nodes have a VLAN and a second disk. */
describe("hardware of a site's own, end to end", function () {
  this.timeout(300_000);
  let site: Site;
  let operator: Operator;

  before(async () => {
    site = await Site.create("127.90", { hosts: ["pve1", "pve2"] });
    operator = new Operator(site.lab);
    await site.configure({
      "site.hosts": ["pve1", "pve2"],
      "site.defaults": { cpu: { type: "host" }, tags: ["rke2", "backup-daily", "rke2"] },
      "site.zones": { pve1: "a", pve2: "b" },
      "site.hostWeights": { pve1: 1, pve2: 2 },
      "controlPlane.servers": 1,
      "controlPlane.hosts": ["pve2"],
      "controlPlane.ip6": "dhcp",
      "controlPlane.labels": { tier: "control", "node-role.kubernetes.io/gate": "true" },
      "controlPlane.taints": ["CriticalAddonsOnly=true:NoExecute"],
      "pools.0.slots": 2,
      "pools.0.firstAddress": undefined,
      "pools.0.addresses": ["127.90.0.120", "127.90.0.130-127.90.0.249"],
      "pools.0.strategy.surge": 1,
      "pools.0.networks": [{ bridge: "vmbr0", vlan: 20, queues: 4 }],
      "pools.0.disks": [{ name: "data", sizeGiB: 5, ssd: true }],
      "pools.0.tags": ["web"],
      "pools.0.annotations": { "node.longhorn.io/default-node-tags": '["fast"]' },
    });
  });

  after(async () => {
    await operator.close();
    await site.close();
  });

  /** The host of each VM of a pool, and options of its configuration without what is random. */
  const configs = async (pool: string): Promise<Record<string, string>[]> => {
    const { vms } = await site.lab.status;
    const found = vms.filter(({ tags }) => tags.includes(`eg-pool-${pool}`)).toSorted((a, b) => a.vmid - b.vmid);
    return Promise.all(
      found.map(async ({ vmid, node: host }) => {
        const config = (await operator.pve("GET", `nodes/${host}/qemu/${vmid}/config`)) as Record<string, string>;
        const shown = ["cpu", "net0", "scsi1", "ipconfig0"].flatMap((key) => {
          const value = config[key]?.replace(/=BC:[0-9A-F:]+|^local:[^,]*,/, "");
          return value === undefined ? [] : [[key, value] as const];
        });
        return { host, ...Object.fromEntries(shown) };
      }),
    );
  };

  it("is made as it is configured, on the hosts of each pool", async () => {
    assert.match(await site.up(), /nodes of servers have IPv6, and pods and services IPv4 alone/);
    assert.deepEqual(await configs("servers"), [
      {
        host: "pve2",
        cpu: "host",
        net0: "virtio,bridge=vmbr0,firewall=0",
        ipconfig0: "gw=127.90.0.1,ip=127.90.0.11/24,ip6=dhcp",
      },
    ]);
    const worker = {
      cpu: "host",
      net0: "virtio,bridge=vmbr0,firewall=0,queues=4,tag=20",
      scsi1: "aio=io_uring,backup=1,cache=none,discard=ignore,iothread=0,replicate=1,serial=data,size=5G,ssd=1",
    };
    assert.deepEqual(await configs("workers"), [
      { host: "pve1", ...worker, ipconfig0: "gw=127.90.0.1,ip=127.90.0.120/24" },
      { host: "pve2", ...worker, ipconfig0: "gw=127.90.0.1,ip=127.90.0.130/24" },
    ]);
    await site.unchanged();
  });

  /** The tags of each VM of a pool that are not ours, as they are stored. */
  const tagsOf = async (pool: string): Promise<string[]> => {
    const { vms } = await site.lab.status;
    const found = vms.filter(({ tags }) => tags.includes(`eg-pool-${pool}`)).toSorted((a, b) => a.vmid - b.vmid);
    return Promise.all(
      found.map(async ({ vmid, node: host }) => {
        const { tags = "" } = (await operator.pve("GET", `nodes/${host}/qemu/${vmid}/config`)) as { tags?: string };
        return tags.replaceAll(/(^|;)(evergreen|eg-[^;]*)(?=;|$)/g, "").replace(/^;/, "");
      }),
    );
  };

  it("has the tags of the site or of the pool, and keeps those that somebody gives a VM by hand", async () => {
    assert.deepEqual(await tagsOf("servers"), ["backup-daily;rke2"]);
    assert.deepEqual(await tagsOf("workers"), ["web", "web"]);
    const [one] = (await site.lab.status).vms.filter(({ tags }) => tags.includes("eg-pool-workers"));
    assert.ok(one);
    const all = [...one.tags, "by-hand"].join(";");
    await operator.pve("PUT", `nodes/${one.node}/qemu/${one.vmid}/config`, { tags: all });
    await site.expect(0, "refresh", "--yes", "--stack", "dev");
    await site.unchanged();
    assert.deepEqual((await tagsOf("workers")).sort(), ["by-hand;web", "web"]);
  });

  it("changes its tags in place", async () => {
    const before = await site.vms("workers");
    await site.configure({ "pools.0.tags": ["front", "2nd"] });
    const preview = await site.expect(0, "preview", "--stack", "dev", "--expect-no-changes");
    assert.match(preview, /\(VM \d+\) gets its tags: \+2nd, \+front, -web\n/);
    assert.deepEqual((await tagsOf("workers")).sort(), ["by-hand;web", "web"]);
    assert.match(await site.unchanged(), /gets its tags: \+2nd, \+front, -web\n/);
    assert.deepEqual((await tagsOf("workers")).sort(), ["2nd;by-hand;front", "2nd;front"]);
    assert.doesNotMatch(await site.unchanged(), /gets its tags/);
    await site.expect(0, "refresh", "--yes", "--stack", "dev");
    await site.unchanged();
    await site.configure({ "pools.0.tags": [] });
    await site.unchanged();
    assert.deepEqual((await tagsOf("workers")).sort(), ["", "by-hand"]);
    assert.deepEqual(await site.vms("workers"), before);
  });

  it("has its annotations", async () => {
    const annotations = async () =>
      await site.withKube(async (kube) => {
        const path = "/api/v1/nodes?labelSelector=evergreen.dev%2Fpool%3Dworkers";
        const { body } = await kube.call<{ items: { metadata: { annotations?: Record<string, string> } }[] }>(
          "GET",
          path,
        );
        return body.items.map(({ metadata }) => metadata.annotations?.["node.longhorn.io/default-node-tags"]);
      });
    assert.deepEqual(await annotations(), ['["fast"]', '["fast"]']);
  });

  it("is joined with the labels and taints of the servers", async () => {
    const { body } = await site.withKube((kube) =>
      kube.call<{ items: { metadata: { labels: Record<string, string> }; spec: { taints?: { key: string }[] } }[] }>(
        "GET",
        "/api/v1/nodes?labelSelector=tier%3Dcontrol",
      ),
    );
    const [server, ...others] = body.items;
    assert.ok(server);
    assert.deepEqual(others, []);
    assert.equal(server.metadata.labels["node-role.kubernetes.io/gate"], "true");
    assert.deepEqual(
      server.spec.taints?.map(({ key }) => key),
      ["CriticalAddonsOnly"],
    );
  });

  it("changes with new nodes, as any other content", async () => {
    await site.load();
    await site.configure({ "pools.0.disks": [{ name: "data", sizeGiB: 6, ssd: true }] });
    const said = await site.up();
    assert.match(said, /roll workers: .*hardware .*"sizeGiB":5.* -> .*"sizeGiB":6/);
    const sizes = (await configs("workers")).map(({ scsi1 = "" }) => /size=(\d+G)/.exec(scsi1)?.[1]);
    assert.deepEqual(sizes, ["6G", "6G"]);
    await site.unchanged();
    assert.deepEqual(await site.complaints(), []);
  });

  it("keeps labels that somebody gave to all nodes of a pool, once they are adopted", async () => {
    const nodes = async () =>
      await site.withKube(async (kube) => {
        const { body } = await kube.call<{ items: { metadata: { name: string; labels: Record<string, string> } }[] }>(
          "GET",
          "/api/v1/nodes?labelSelector=evergreen.dev%2Fpool%3Dworkers",
        );
        return body.items.map(({ metadata }) => metadata);
      });
    const before = await nodes();
    await site.withKube((kube) =>
      Promise.all(
        before.map(({ name }) =>
          kube.call("PATCH", `/api/v1/nodes/${name}?fieldManager=kubectl-label`, {
            metadata: { labels: { rack: "r1" } },
          }),
        ),
      ),
    );
    const { code, output } = await site.evergreen("adopt", "--stack", "dev", "--labels", "--write");
    assert.equal(code, 0, output);
    assert.match(output, /workers: label rack=r1\n/);
    await site.up();
    const after = await nodes();
    assert.ok(
      after.every(({ name }) => before.every((one) => one.name !== name)),
      "new nodes",
    );
    assert.deepEqual(
      after.map(({ labels }) => labels.rack),
      ["r1", "r1"],
    );
  });

  it("is previewed with the token that only reads, which no update may use", async () => {
    await site.configure({ "pools.0.rollout": 1 });
    const reads = { PROXMOX_VE_API_TOKEN: `${labSite.readToken}=${labSite.readSecret}` };
    const { code, output } = await site.pulumi(["preview", "--stack", "dev"], reads);
    assert.equal(code, 0, output);
    assert.match(output, /roll workers: .*rollout 0 -> 1/);
    assert.doesNotMatch(output, /has what the configuration does not give/, "its annotations are configured");
    const lacks = (privilege: string, path: RegExp) => ({
      what: new RegExp(`lacks ${privilege.replaceAll(".", "\\.")} `),
      where: path,
      todo: new RegExp(privilege),
    });
    await refused(
      site,
      [
        lacks("VM.Allocate", /^\/pool\/evergreen-nodes$/),
        lacks("VM.Clone", /^\/pool\/evergreen-templates$/),
        lacks("Datastore.AllocateSpace", /^\/storage\/local$/),
      ],
      reads,
    );
    await site.configure({ "pools.0.rollout": undefined });
  });

  it("is refused where the token may not have it, before anything is made", async () => {
    await site.configure({ "pools.0.networks": [{ bridge: "vmbr7" }] });
    const said = await site.fails();
    assert.match(said, /lacks SDN.Use \(VMs are connected to the network\)[^]*\/sdn\/zones\/localnetwork\/vmbr7/);
    assert.equal((await site.vms("workers")).length, 2);
  });
});
