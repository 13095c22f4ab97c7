import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Operator, type VmOrder } from "../lab/support/operator.ts";
import { refused } from "../e2e/refusal.ts";
import { Site } from "../e2e/site.ts";

const server: VmOrder = { vmid: 301, pool: "servers", slot: 0, foreign: "kube-master" };
const agents: VmOrder[] = [
  { vmid: 302, pool: "workers", slot: 0, foreign: "kube-a.example.org" },
  { vmid: 303, pool: "workers", slot: 1, foreign: "kube-b" },
];

/** A server and two agents that somebody made by hand, with names, numbers and tags of their own. */
describe("a cluster that is taken over", function () {
  this.timeout(300_000);
  let site: Site;
  let operator: Operator;

  before(async () => {
    site = await Site.create("127.95");
    operator = new Operator(site.lab);
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "pools.0.strategy.surge": 1 });
    await operator.createVm(server);
    await operator.foundCluster(server, { cni: "cilium" });
    for (const agent of agents) {
      await operator.createVm(agent);
      await operator.joinAgent(agent, server.vmid);
      await operator.ready(agent.foreign ?? "");
    }
    await operator.pve("PUT", "nodes/pve1/qemu/302/config", { tags: "billing;owner-42", onboot: "1" });
    await site.load({ replicas: 4 });
  });

  after(async () => {
    await operator.close();
    await site.close();
  });

  const vm = async (vmid: number) => {
    const found = (await site.lab.status).vms.find((one) => one.vmid === vmid);
    assert.ok(found, `VM ${vmid} is gone`);
    return found;
  };
  const configOf = async (vmid: number) =>
    (await operator.pve("GET", `nodes/pve1/qemu/${vmid}/config`)) as { name: string; smbios1: string; onboot?: number };
  const uuidOf = async (vmid: number) => /uuid=([^,]+)/.exec((await configOf(vmid)).smbios1)?.[1]?.toLowerCase() ?? "";
  const nodes = async () => (await site.lab.status).nodes.map(({ name }) => name).sort();

  it("is not made a second time beside the first: without its servers nothing begins", async () => {
    const entry = { slot: 0, vmid: 302, uuid: await uuidOf(302), node: "kube-a.example.org" };
    await site.configure({ "pools.0.adopt": [entry] });
    await refused(site, [
      { what: /the cluster exists but none of its servers answers/, where: /kube-a/, todo: /adopt/ },
    ]);
    await site.configure({ "pools.0.adopt": undefined });
  });

  it("is found by its nodes, and written into the stack's file", async () => {
    const shown = await site.evergreen("adopt", "--stack", "dev");
    assert.equal(shown.code, 0, shown.output);
    assert.match(shown.output, /- \{ slot: 0, vmid: 301, uuid: \S+, node: kube-master \}/);
    assert.match(shown.output, /# pool workers\nadopt:\n {2}- \{ slot: 0, vmid: 302, .*\n {2}- \{ slot: 1, vmid: 303/);
    const file = join(site.project, "Pulumi.dev.yaml");
    const comments = (text: string) => text.split("\n").filter((line) => line.trim().startsWith("#"));
    const before = await readFile(file, "utf8");
    assert.equal((await site.evergreen("adopt", "--stack", "dev", "--write")).code, 0);
    assert.deepEqual(comments(await readFile(file, "utf8")), comments(before));
    const key = /first: evergreen:controlPlane\.config\.cni: set it to cilium: /;
    assert.match(shown.output, key);
    // As long as the only server stays, nothing joins etcd.
    await site.expect(0, "preview", "--stack", "dev");
    await site.configure({ "controlPlane.replaceOnlyServer": true });
    await refused(site, [
      {
        what: /cni cannot change .*: its servers have cilium/,
        where: /evergreen:controlPlane\.config\.cni/,
        todo: /cilium/,
      },
    ]);
    await site.configure({ "controlPlane.replaceOnlyServer": undefined, "controlPlane.config": { cni: "cilium" } });
    const again = await site.evergreen("adopt", "--stack", "dev");
    assert.doesNotMatch(again.output, key);
    assert.match(again.output, /not touched: kube-b: the configuration adopts it already/);
    assert.match(again.output, /nothing to adopt/);
  });

  it("is refused when a uuid is not that of the VM, and nothing is touched", async () => {
    const right = await uuidOf(303);
    await site.configure({ "pools.0.adopt.1.uuid": right.replace(/^..../, "dead") });
    await refused(site, [
      {
        what: /VM 303 cannot be adopted as kube-b: its SMBIOS uuid is .*; the Node runs in the machine/,
        where: /evergreen:pools\[0\]\.adopt\[1\]/,
        todo: /nothing was done to it/,
      },
    ]);
    await site.configure({ "pools.0.adopt.1.uuid": right });
  });

  it("serves on with its own nodes when the new image does not work, and is held", async () => {
    await site.expect(0, "preview", "--stack", "dev");
    assert.deepEqual((await vm(302)).tags, ["billing", "owner-42"], "a preview marks nothing");
    const broken = "ubuntu-24.04-rke2-v1.1.0";
    await site.lab.call("POST /faults", { kind: "image", template: broken, fault: "never-ready" });
    await site.configure({ "pools.0.image": broken, "timeouts.joinSeconds": 10 });
    const failed = await site.fails();
    assert.match(failed, /kube-b \(VM 303\) is taken over as workers slot 1/);
    assert.match(failed, /waiting for demo-workers-\d-\w+ to be Ready/);
    await site.lab.call("DELETE /faults", undefined);
    const said = await site.up();
    assert.match(said, /held workers: .*judged failed/s);
    assert.match(said, /kube-b was adopted and keeps its slot/);
    assert.deepEqual(await nodes(), ["kube-a.example.org", "kube-b", "kube-master"]);
    assert.deepEqual(await site.vms("workers"), ["kube-a.example.org", "kube-b"]);
    assert.deepEqual(await site.complaints(), []);
    await site.configure({ "pools.0.image": "ubuntu-24.04-rke2-v1.0.0", "timeouts.joinSeconds": 120 });
  });

  it("has its agents replaced in one update, while the only server stays, and nobody notices", async () => {
    const preview = await site.expect(0, "preview", "--stack", "dev");
    assert.match(preview, /servers: adopted, nothing to do\n.*kube-master is the only server/);
    assert.match(preview, /kube-master was adopted and keeps its slot/);
    assert.match(preview, /roll workers: adopted -> \w+, 2 slots/);
    assert.match(preview, /slot 1: demo-workers-1-\w+ comes .*, then kube-b \(adopted; its VM stays, off\) leaves/);
    const said = await site.up();
    assert.match(said, /VM 303 \(kube-b\) is out of the cluster and off; it stays, and is yours to delete/);
    assert.deepEqual(await site.complaints(), []);
    const workers = await site.vms("workers");
    assert.equal(workers.length, 2);
    assert.deepEqual(await nodes(), [...workers, "kube-master"].sort());
    assert.match(await site.unchanged(), /kube-b has left the cluster: VM 303 is off and yours to delete/);
  });

  it("leaves the old VMs where they are: off, not started with their host, without a tag of ours", async () => {
    assert.deepEqual([(await vm(302)).running, (await vm(303)).running], [false, false]);
    assert.deepEqual((await vm(302)).tags, ["billing", "owner-42"]);
    assert.ok(!(await vm(303)).tags.some((tag) => /^(evergreen$|eg-(cluster|pool|slot|gen)-)/.test(tag)));
    assert.equal((await configOf(302)).onboot ?? 0, 0);
  });

  it("has its only server replaced once the configuration consents", async () => {
    await site.configure({ "controlPlane.replaceOnlyServer": true });
    const said = await site.up();
    assert.match(said, /VM 301 \(kube-master\) is out of the cluster and off/);
    assert.deepEqual(await nodes(), [...(await site.vms("workers")), ...(await site.vms("servers"))].sort());
    assert.equal((await site.vms("servers")).length, 1);
    assert.equal((await vm(301)).running, false);
    await site.unchanged();
  });

  it("is ours from then on: the entries may go, and so may the old VMs", async () => {
    await operator.destroyVm(303);
    await site.unchanged();
    await site.configure({ "pools.0.adopt": undefined, "controlPlane.adopt": undefined });
    await site.unchanged();
    const { code, output } = await site.evergreen("repair");
    assert.equal(code, 0, output);
    assert.match(output, /nothing to repair/);
  });
});

/** The same with a majority to spare: no consent is needed, and etcd never has fewer members. */
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
