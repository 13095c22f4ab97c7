import assert from "node:assert/strict";
import { Site } from "../e2e/site.ts";
import { Operator, type VmOrder } from "../lab/support/operator.ts";

/** Three servers and an agent that somebody made by hand: no consent is needed, and etcd never has fewer members. */
describe("a control plane that is taken over", function () {
  this.timeout(480_000);
  let site: Site;
  let operator: Operator;
  const names = ["kube-1", "kube-2", "kube-3"];

  before(async () => {
    site = await Site.create("127.96");
    operator = new Operator(site.lab);
    for (const [slot, foreign] of names.entries()) {
      const order: VmOrder = { vmid: 301 + slot, pool: "servers", slot, foreign };
      await operator.createVm(order);
      if (slot === 0) await operator.foundCluster(order);
      else await operator.joinServer(order, 301);
      await operator.ready(foreign);
    }
    const worker: VmOrder = { vmid: 304, pool: "workers", slot: 0, foreign: "kube-4" };
    await operator.createVm(worker);
    await operator.joinAgent(worker, 301);
    await operator.ready("kube-4");
    await site.configure({ "controlPlane.servers": 3, "pools.0.slots": 1 });
  });

  after(async () => {
    await operator.close();
    await site.close();
  });

  it("is replaced with its agent in one update: three members, four, three", async () => {
    const written = await site.evergreen("adopt", "--stack", "dev", "--write");
    assert.equal(written.code, 0, written.output);
    await site.up();
    const { members, nodes, vms } = await site.lab.status;
    const servers = await site.vms("servers");
    assert.equal(servers.length, 3);
    assert.deepEqual(members.map(({ name }) => name.slice(0, -9)).sort(), servers);
    assert.deepEqual(nodes.map(({ name }) => name).sort(), [...servers, ...(await site.vms("workers"))].sort());
    for (const name of [...names, "kube-4"]) assert.equal(vms.find((vm) => vm.name === name)?.running, false);
    assert.deepEqual(await site.complaints(), []);
    await site.unchanged();
  });
});
