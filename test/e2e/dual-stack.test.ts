import assert from "node:assert/strict";
import { Operator } from "../lab/support/operator.ts";
import { Site } from "./site.ts";

interface ListedNode {
  metadata: { name: string };
  spec: { podCIDRs?: string[] };
  status: { addresses: { type: string; address: string }[] };
}

/** A cluster of both families: servers with IPv6 addresses in a row, a pool with holes, and one that gets them by SLAAC. */
describe("a site with IPv4 and IPv6, end to end", function () {
  this.timeout(300_000);
  let site: Site;
  let operator: Operator;

  before(async () => {
    site = await Site.create("127.91");
    operator = new Operator(site.lab);
    await site.configure({
      "site.gateway6": "FE80::1",
      "site.prefixLength6": 112,
      "controlPlane.servers": 1,
      "controlPlane.config": {
        "cluster-cidr": "10.42.0.0/16,fd00:42::/56",
        "service-cidr": ["10.43.0.0/16", "fd00:43::/112"],
      },
      "controlPlane.firstAddress6": "FD00:0::1",
      "pools.0.slots": 2,
      "pools.0.strategy.surge": 1,
      "pools.0.addresses6": ["fd00::1:20", "fd00::1:30-fd00::1:ff"],
    });
  });

  after(async () => {
    await operator.close();
    await site.close();
  });

  /** The network that Proxmox tells each VM of a pool. */
  const networks = async (pool: string): Promise<unknown[]> => {
    const { vms } = await site.lab.status;
    const found = vms.filter(({ tags }) => tags.includes(`eg-pool-${pool}`)).toSorted((a, b) => a.vmid - b.vmid);
    return Promise.all(
      found.map(async ({ vmid, node: host }) => {
        const config = (await operator.pve("GET", `nodes/${host}/qemu/${vmid}/config`)) as { ipconfig0?: string };
        return config.ipconfig0;
      }),
    );
  };

  const nodes = async (pool: string): Promise<ListedNode[]> => {
    const path = `/api/v1/nodes?labelSelector=${encodeURIComponent(`evergreen.dev/pool=${pool}`)}`;
    return await site.withKube(async (kube) => (await kube.call<{ items: ListedNode[] }>("GET", path)).body.items);
  };
  const addressesOf = ({ status }: ListedNode): string[] =>
    status.addresses.filter(({ type }) => type === "InternalIP").map(({ address }) => address);

  it("is made with the addresses that it is configured with, and stays as it is", async () => {
    await site.up();
    assert.deepEqual(await networks("servers"), ["gw=127.91.0.1,gw6=fe80::1,ip=127.91.0.11/24,ip6=fd00::1/112"]);
    assert.deepEqual(await networks("workers"), [
      "gw=127.91.0.1,gw6=fe80::1,ip=127.91.0.101/24,ip6=fd00::1:20/112",
      "gw=127.91.0.1,gw6=fe80::1,ip=127.91.0.102/24,ip6=fd00::1:30/112",
    ]);
    await site.unchanged();
    await site.expect(0, "refresh", "--yes", "--stack", "dev");
    await site.unchanged();
  });

  it("is joined by nodes of both families", async () => {
    const [server] = await nodes("servers");
    assert.ok(server);
    assert.deepEqual(addressesOf(server), ["127.91.0.11", "fd00::1"]);
    assert.equal(server.spec.podCIDRs?.length, 2);
    assert.deepEqual((await nodes("workers")).map(addressesOf).toSorted(), [
      ["127.91.0.101", "fd00::1:20"],
      ["127.91.0.102", "fd00::1:30"],
    ]);
    assert.deepEqual((await site.record("workers")).nodes.map(({ address6 }) => address6).toSorted(), [
      "fd00::1:20",
      "fd00::1:30",
    ]);
  });

  it("makes no node that would lack a family", async () => {
    await site.configure({ "pools.0.addresses6": undefined, "pools.0.rollout": 1 });
    assert.match(await site.fails(), /nothing says that nodes of workers have IPv6[^]*evergreen:pools\[0\]\.ip6/);
    assert.equal((await networks("workers")).length, 2);
  });

  it("changes to addresses of the network's for nodes made from then on, and serves meanwhile", async () => {
    await site.load();
    await site.configure({ "pools.0.ip6": "auto" });
    await site.up();
    assert.deepEqual(await networks("workers"), [
      "gw=127.91.0.1,ip=127.91.0.103/24,ip6=auto",
      "gw=127.91.0.1,ip=127.91.0.104/24,ip6=auto",
    ]);
    for (const node of await nodes("workers")) assert.match(addressesOf(node)[1] ?? "", /^fd00:6::[0-9a-f]+:1$/);
    await site.unchanged();
    assert.deepEqual(await site.complaints(), []);
  });

  it("judges no image by an address that the network does not provide", async () => {
    await site.configure({ "pools.0.ip6": "dhcp", "pools.0.rollout": 2, "timeouts.joinSeconds": 15 });
    const said = await site.fails();
    assert.match(said, /and node-ip: \[127\.91\.0\.\d+\], must share the same IP version[^]*the image was not judged/);
    const { generations } = await site.record("workers");
    assert.deepEqual(
      generations.filter(({ state }) => state === "failed"),
      [],
    );
  });
});
