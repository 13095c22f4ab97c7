import assert from "node:assert/strict";
import { refused, refusedBy, type Message } from "./refusal.ts";
import { Site } from "./site.ts";

/**
 * Two VMs that an administrator moves out of the Proxmox pool: they run on, and the token cannot see them. At 1fa92b1 a nightly
 * `evergreen up` took both for gone: it deleted their Nodes, so etcd's member too, had the engine forget them and said "done".
 */
describe("nodes whose VMs are out of the token's sight, end to end", function () {
  this.timeout(300_000);
  let site: Site;
  let lost: { vmid: number; name: string }[];

  before(async () => {
    site = await Site.create("127.54");
    await site.configure({ "controlPlane.servers": 3, "pools.0.slots": 2 });
    await site.up();
    await site.load({ replicas: 4 });
    const { vms } = await site.lab.status;
    lost = ["demo-servers-1-", "demo-workers-1-"].map((prefix) => {
      const vm = vms.find(({ name }) => name.startsWith(prefix));
      assert.ok(vm, prefix);
      return vm;
    });
    for (const { vmid } of lost) await site.lab.call("POST /faults", { kind: "pool-vm", vm: vmid });
  });

  after(async () => {
    await site.close();
  });

  afterEach(async () => {
    assert.deepEqual(await site.disturbances(), []);
    const { nodes } = await site.lab.status;
    assert.equal(nodes.filter(({ ready }) => ready).length, 5, "every node serves on");
    for (const pool of ["servers", "workers"])
      for (const { name, phase } of (await site.record(pool)).nodes) assert.equal(phase, "handedOver", name);
  });

  const named = (): Message[] =>
    lost.map(({ vmid, name }) => ({
      what: new RegExp(`VM ${vmid} of ${name} exists, and the token cannot see it`),
      where: new RegExp(`VMID ${vmid} is taken`),
      todo: new RegExp(`pvesh set /pools/POOL --vms ${vmid}`),
    }));

  for (const verb of ["up", "repair"]) {
    it(`are named by evergreen ${verb}, and nothing is changed`, async () => {
      const ran: { code: number | null }[] = [];
      await refusedBy(site, named(), async () => {
        const ended = await site.evergreen(verb, "--stack", "dev");
        ran.push(ended);
        return ended;
      });
      assert.equal(ran[0]?.code, 1);
    });
  }

  it("are named by pulumi up with and without its launcher, and nothing is changed", async () => {
    await refused(site, named());
    await refusedBy(site, named(), () => site.launcher("up", "--yes", "--skip-preview", "--stack", "dev"));
  });

  it("are ours again once they are back in the pool: there is nothing to repair, and nothing to do", async () => {
    for (const { vmid } of lost)
      await site.lab.call("POST /faults", { kind: "pool-vm", vm: vmid, pool: "evergreen-nodes" });
    const { output } = await site.evergreen("repair", "--stack", "dev");
    assert.match(output, /nothing to repair/);
    await site.unchanged();
  });
});
