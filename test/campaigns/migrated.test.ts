import assert from "node:assert/strict";
import { Site } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const older = "ubuntu-24.04-rke2-v1.0.0";

/** Two Proxmox hosts: VMs move between them, and one falls. */
describe("on two Proxmox hosts, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.99", { hosts: ["pve1", "pve2"] });
    await site.configure({ "site.hosts": ["pve1", "pve2"], "controlPlane.servers": 1, "pools.0.slots": 2 });
    await site.configure({ "pools.0.strategy.surge": 1, "site.zones": { pve1: "a", pve2: "b" } });
    await site.up();
  });

  after(async () => {
    await site.close();
  });

  afterEach(async () => {
    await site.lab.call("DELETE /faults", undefined);
  });

  const vmOf = async (slot: number) => {
    const { vms } = await site.lab.status;
    const found = vms.find(({ tags }) => tags.includes("eg-pool-workers") && tags.includes(`eg-slot-${slot}`));
    assert.ok(found);
    return { vm: found.vmid, host: found.node, other: found.node === "pve1" ? "pve2" : "pve1" };
  };

  it("replaces a node whose VM was migrated, and destroys it where it is", async () => {
    const { vm, host, other } = await vmOf(0);
    await site.lab.call("POST /faults", { kind: "migrate-vm", vm, host: other });
    await site.configure({ "pools.0.image": newer });
    const { code, output } = await site.launcher(
      "up",
      "--yes",
      "--skip-preview",
      "--stack",
      "dev",
      "--non-interactive",
    );
    assert.equal(code, 0, output);
    assert.match(output, new RegExp(`the engine remembers VM ${vm} \\(\\S+\\) on ${host}, and it was migrated`));
    const { vms } = await site.lab.status;
    assert.ok(!vms.some(({ vmid }) => vmid === vm));
    assert.deepEqual(await site.complaints(), []);
  });

  it("tells the zone of each node, also after its VM was migrated", async () => {
    const zoneOf = async (slot: number): Promise<string | undefined> => {
      const selector = encodeURIComponent(`evergreen.dev/pool=workers,evergreen.dev/slot=${slot}`);
      const { body } = await site.withKube((kube) =>
        kube.call<{ items: { metadata: { labels: Record<string, string> } }[] }>(
          "GET",
          `/api/v1/nodes?labelSelector=${selector}`,
        ),
      );
      return body.items[0]?.metadata.labels["topology.kubernetes.io/zone"];
    };
    // The server is on pve1, so the second worker is too: both are on pve2 then, which is turned off below.
    const { vm, host, other } = await vmOf(1);
    const from = host === "pve1" ? "a" : "b";
    assert.equal(await zoneOf(1), from);
    await site.lab.call("POST /faults", { kind: "migrate-vm", vm, host: other });
    const said = await site.up();
    assert.match(said, /is on another Proxmox host than before: it gets topology\.kubernetes\.io\/zone=/);
    assert.equal(await zoneOf(1), from === "a" ? "b" : "a");
    await site.unchanged();
  });

  it("names a host that is off, leaves its nodes as they are, and goes on when it is back", async () => {
    await site.lab.call("POST /faults", { kind: "host-off", host: "pve2" });
    const before = await site.vms("workers");
    const status = await site.evergreen("status", "--stack", "dev");
    assert.equal(status.code, 0, status.output);
    assert.match(status.output, /pve2/);
    assert.doesNotMatch(status.output, /^\s+at /m, "no stack trace");
    const repaired = await site.evergreen("repair", "--stack", "dev");
    assert.notEqual(repaired.code, 70, repaired.output);
    assert.deepEqual(await site.vms("workers"), before);
    await site.lab.call("POST /faults", { kind: "host-on", host: "pve2" });
    await site.configure({ "pools.0.image": older });
    const { code, output } = await site.evergreen("up", "--stack", "dev");
    assert.equal(code, 0, output);
  });

  it("destroys the cluster with a VM that was migrated, and one that was deleted", async () => {
    await site.configure({ allowDestroy: true });
    await site.up();
    const { vm: gone } = await vmOf(0);
    const { vm, host, other } = await vmOf(1);
    await site.lab.call("POST /faults", { kind: "migrate-vm", vm, host: other });
    await site.lab.call("POST /faults", { kind: "delete-vm", vm: gone });
    const { code, output } = await site.launcher(
      "destroy",
      "--yes",
      "--skip-preview",
      "--stack",
      "dev",
      "--non-interactive",
    );
    assert.equal(code, 0, output);
    assert.match(output, new RegExp(`the engine remembers VM ${vm} \\(\\S+\\) on ${host}, and it was migrated`));
    assert.match(output, new RegExp(`the engine remembers VM ${gone} \\(\\S+\\), which is gone`));
    assert.deepEqual(await site.vms("workers"), []);
  });
});
