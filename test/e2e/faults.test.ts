import assert from "node:assert/strict";
import { loadServes } from "../lab/support/start.ts";
import { refused, says, type Message } from "./refusal.ts";
import { Site } from "./site.ts";

/** An image of the agents' own: the server runs on another, which the faults leave alone. */
const newer = "ubuntu-24.04-rke2-v1.2.0";

/** One cluster on which everything goes wrong, a fault after the other; it serves all the time. */
describe("a cluster on which things go wrong", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.77");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "pools.0.strategy.surge": 1 });
    await site.lab.call("POST /faults", { kind: "template", vmid: 9003, version: "1.2.0", rke2: "v1.34.4+rke2r1" });
    await site.up();
    await site.load({ replicas: 4 });
  });

  after(async () => {
    await site.close();
  });

  afterEach(async () => {
    await site.lab.call("DELETE /faults", undefined);
    assert.deepEqual(await serving(), []);
  });

  /** What does not serve as it should, at this moment. */
  const serving = async (): Promise<unknown[]> => {
    const { violations, probe } = await site.lab.status;
    return [...violations, ...(probe.failed > 0 ? [probe] : [])];
  };
  const vmNamed = async (name: string) => {
    const found = (await site.lab.status).vms.find((vm) => vm.name === name);
    assert.ok(found, name);
    return found;
  };
  const worker = async (slot: number) => {
    const name = (await site.vms("workers")).find((vm) => vm.startsWith(`demo-workers-${slot}-`));
    return await vmNamed(name ?? `demo-workers-${slot}`);
  };
  /** An update that fails: it says why, and every node that served before serves after it. */
  const fails = async (message: Message): Promise<string> => {
    const before = (await site.lab.status).nodes;
    const output = await site.fails();
    says(output, message);
    const { nodes } = await site.lab.status;
    for (const { name } of before.filter(({ ready }) => ready)) {
      const node = nodes.find((one) => one.name === name);
      assert.ok(node?.ready && node.schedulable, `${name} does not serve any more`);
    }
    return output;
  };
  let counter = 0;
  /** The same image once more, as another generation. */
  const again = () => site.configure({ "pools.0.image": newer, "pools.0.rollout": (counter += 1) });

  it("is not planned on what a token without VM.Audit can see", async () => {
    await site.lab.call("POST /faults", { kind: "revoke-privilege", privilege: "VM.Audit" });
    await refused(site, [
      { what: /lacks VM\.Audit \(VMs are seen\)/, where: /^\/pool\/evergreen-nodes$/, todo: /VM\.Audit on/ },
      { what: /lacks VM\.Audit \(templates are found\)/, where: /^\/pool\/evergreen-templates$/, todo: /VM\.Audit on/ },
    ]);
  });

  it("is left alone while nobody is reached through the registration address", async () => {
    await site.lab.call("POST /faults", { kind: "registration-down" });
    await refused(site, [
      {
        what: /the cluster's API does not answer \(ECONN/,
        where: /GET https:\/\/127\.77\.0\.5:6443\//,
        todo: /the registration address leads to a ready server \(port 6443\)/,
      },
    ]);
    await site.lab.call("DELETE /faults", undefined);
    await site.unchanged();
    // The lab's kubelets have no way but that address: after ten seconds their nodes are not Ready, and pods go for it.
    await loadServes(site.lab);
  });

  it("is left alone when somebody has renamed a VM, until it has its name again", async () => {
    const { vmid, name } = await worker(0);
    await site.lab.call("POST /faults", { kind: "rename-vm", vm: vmid, name: "old-database" });
    await refused(site, [
      {
        what: new RegExp(`has another name: it was made as ${name}`),
        where: new RegExp(`VM ${vmid} \\(old-database\\) on pve1`),
        todo: /rename it back/,
      },
    ]);
    await site.lab.call("POST /faults", { kind: "rename-vm", vm: vmid, name });
    await site.unchanged();
  });

  it("gets a deleted VM back after repair, and not before", async () => {
    const { vmid, name } = await worker(1);
    await site.lab.call("POST /faults", { kind: "delete-vm", vm: vmid });
    await refused(site, [
      { what: new RegExp(`the VM of (Node )?${name} is gone`), where: /slot 1/, todo: /evergreen repair/ },
    ]);
    const repaired = await site.evergreen("repair", "--stack", "dev");
    assert.equal(repaired.code, 0, repaired.output);
    assert.match(repaired.output, new RegExp(`the VM ${vmid} of ${name} is gone, and it was not retired\n {2}-> `));
    await site.up();
    assert.notEqual((await worker(1)).vmid, vmid, "a number that was just given up is the last to be used again");
    assert.equal((await vmNamed(name)).running, true);
    await site.unchanged();
    await site.lab.call("POST /probe/reset", undefined);
    await site.lab.call("POST /watcher/reset", undefined);
  });

  it("keeps its old nodes when a new one has no agent, never gets Ready, or is another version", async () => {
    const short = { "timeouts.agentSeconds": 4, "timeouts.joinSeconds": 8, "timeouts.drainSeconds": 5 };
    await site.configure(short);
    const faults = [
      ["no-agent", { what: /waiting for the guest agent of demo-workers-0-/, where: /./, todo: /./ }],
      ["never-ready", { what: /waiting for demo-workers-0-\w+ to be Ready/, where: /./, todo: /./ }],
      ["wrong-kubelet", { what: /the kubelet is \S+, and the image claims v/, where: /image ubuntu/, todo: /bake/ }],
    ] as const;
    for (const [fault, message] of faults) {
      await again();
      await site.lab.call("POST /faults", { kind: "image", template: newer, fault });
      await fails(message);
      await site.lab.call("DELETE /faults", undefined);
    }
    const held = await site.up();
    assert.match(held, /held workers: .*judged failed/s);
  });

  it("steps over a stranger's VM, and keeps its nodes when the storage fails in the middle", async () => {
    const used = (await site.lab.status).vms.map(({ vmid }) => vmid).filter((vmid) => vmid < 9000);
    const next = Math.max(...used) + 1;
    await site.lab.call("POST /faults", { kind: "stranger", vmid: next, name: "database" });
    const stranger = await vmNamed("database");
    await again();
    const text = "clone failed: storage 'local' is full: No space left on device";
    await site.lab.call("POST /faults", { kind: "fail-task", type: "qmclone", nth: 1, text });
    const before = await site.vms("workers");
    const output = await site.fails();
    assert.match(output, /No space left on device/);
    for (const name of before) assert.ok((await site.vms("workers")).includes(name));
    assert.deepEqual(await vmNamed("database"), stranger);
  });

  it("makes another clone in the place of one whose configuration Proxmox refused", async () => {
    await again();
    const match = "PUT nodes/{node}/qemu/{vmid}/config";
    await site.lab.call("POST /faults", { kind: "answer", match, nth: 1, status: 403, reason: "not now" });
    assert.match(await site.fails(), /HTTP 403 response - Reason: not now/);
    await site.lab.call("DELETE /faults", undefined);
    await fails({
      what: /VM \d+ was cloned as demo-workers-0-\w+ and could not be configured/,
      where: /VM \d+ on pve1/,
      todo: /evergreen repair/,
    });
    const { code, output } = await site.launcher("up", "--yes", "--skip-preview", "--stack", "dev");
    assert.equal(code, 0, output);
    assert.match(output, /could not configure it; what it left is repaired first/);
    assert.match(
      output,
      /VM \d+ \(demo-workers-0-\w+\) was cloned and could not be configured\n {2}-> destroyed the incomplete VM/,
    );
    assert.equal((await site.vms("workers")).length, 2);
    await site.unchanged();
  });

  it("does not join a node whose token is no longer valid, and shows what the guest said of it", async () => {
    await again();
    // A window in which the token exists and the guest has not got it yet.
    await site.lab.call("POST /faults", { kind: "latency", milliseconds: 1500, match: "POST nodes/.*/file-write" });
    const expired = site.expireTokens(1);
    const output = await fails({
      what: /gave up after 8 s waiting for demo-workers-0-\w+ to be Ready/,
      where: /it never registered: see the end of its join\.log/,
      todo: /./,
    });
    await expired;
    assert.match(
      output,
      /the end of \/var\/log\/evergreen\/join\.log on demo-workers-0-\w+:\n(.*\n)*.*401 Unauthorized/,
    );
  });

  it("refuses a rollout that a budget never lets go, before it makes a VM", async () => {
    await site.calm();
    await again();
    await site.lab.call("POST /load", { replicas: 4, maxUnavailable: 0 });
    const before = await site.vms("workers");
    await fails({
      what: /PodDisruptionBudget load\/web never lets a pod go: 4 of 4 pods healthy/,
      where: /load\/web-/,
      todo: /add a replica, or let the budget allow one disruption/,
    });
    assert.deepEqual(await site.vms("workers"), before);
    await site.lab.call("POST /load", { replicas: 4, maxUnavailable: 1 });
    await again();
    await site.up();
    assert.deepEqual(await site.complaints(), []);
  });
});
