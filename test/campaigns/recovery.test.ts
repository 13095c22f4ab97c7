import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROJECT } from "../../src/recovery/engine-state.ts";
import { labBucket } from "../../lab/object-store.ts";
import { toolchain } from "../../tools/index.ts";
import { refused, says } from "../e2e/refusal.ts";
import { Site } from "../e2e/site.ts";
import { takeSnapshot } from "../lab/support/snapshot.ts";
import { Recipe } from "./recipe.ts";

const prefix = "127.84";

/** One cluster of three servers that loses more and more, and gets all of it back by what docs/recovery.md says. */
describe("a control plane that is ill", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    const tools = await toolchain({ parts: ["lab"], quiet: true });
    site = await Site.create(prefix, { objectStore: tools.bin("versitygw") });
    await site.configure({ "pools.0.slots": 1 });
    await site.up();
  });

  after(async () => {
    await site.close();
  });

  const server = async (slot: number) => {
    const found = (await site.lab.status).vms.find(({ name }) => name.startsWith(`demo-servers-${slot}-`));
    assert.ok(found, `server ${slot}`);
    return found;
  };
  const servers = () => Promise.all([0, 1, 2].map(server));
  const voters = async () => {
    const { members } = await site.lab.status;
    return members.filter(({ learner, healthy }) => healthy && !learner).map(({ name }) => name.slice(0, -9));
  };
  const addressOf = (vmid: number) => `${prefix}.0.${11 + vmid - 1000}`;
  /** Three voters, one in each slot. */
  const complete = async () => {
    const names = (await servers()).map(({ name }) => name);
    await site.until("three voters", async () => (await voters()).toSorted().join() === names.join());
  };
  const byHand = (kind: "stop-vm" | "start-vm" | "delete-vm", vm: number) =>
    site.lab.call("POST /faults", { kind, vm });
  const section = /docs\/recovery\.md, "The quorum is lost"/;
  /** Name of the snapshot that the last recipe needs. */
  let taken = "";

  it("without a quorum nothing begins; its servers are started again, and the next run goes on", async () => {
    const [, second, third] = await servers();
    assert.ok(second && third);
    for (const { vmid } of [second, third]) await byHand("stop-vm", vmid);
    await refused(site, [
      {
        what: /etcd has lost its quorum: 1 of 3 servers runs, and 2 are needed$/,
        where: new RegExp(
          `${second.name} \\(VM 1001\\) is off; ${third.name} \\(VM 1002\\) is off; demo-servers-0-\\w+ runs`,
        ),
        todo: section,
      },
    ]);
    const recipe = new Recipe(site, "The quorum is lost");
    for (const { vmid } of [second, third]) await byHand("start-vm", vmid);
    await recipe.until("kubectl get --raw", /^ok$/);
    await recipe.run("npx pulumi up");
    await complete();
  });

  it("a server whose disk is lost is taken out by hand, and a lock of a machine that is gone as well", async () => {
    const { name, vmid } = await server(2);
    const words = { NAME: name, VMID: String(vmid) };
    await byHand("stop-vm", vmid);
    const recipe = new Recipe(site, "A server is dead");
    // While etcd elects a leader the order may be refused: one gives it again.
    await recipe.until("kubectl annotate", /annotated \(200\)/, words);
    await recipe.until("kubectl get node", /removed-node-name: demo-servers-2-/, words);
    await recipe.until("kubectl delete", /deleted \((200|404)\)/, words);
    await recipe.run("qm destroy", words);

    lockFrom("a-machine-that-burnt");
    const held = await site.evergreen("repair", "--stack", "dev");
    assert.equal(held.code, 1);
    says(held.output, {
      what: /^an update of stack dev is running$/,
      where: /^process 4711 of ada on a-machine-that-burnt, since /,
      todo: /pulumi cancel/,
    });
    await new Recipe(site, "A run was killed, or its machine is lost").run("npx pulumi cancel");
    await recipe.run("npx evergreen repair");

    // Of what comes after it the snapshot knows nothing: another server, and another agent.
    const founder = await server(0);
    const token = await new Recipe(site, "Restore an etcd snapshot").on(founder.name, "cat");
    const [first = "", ...others] = await takeSnapshot(addressOf(founder.vmid), token, bucket());
    assert.deepEqual(others, [first], "one on the server's disk, one in the bucket");
    taken = first;
    await site.configure({ "pools.0.slots": 2 });
    await recipe.run("npx pulumi up");
    assert.notEqual((await server(2)).vmid, vmid);
    await complete();
  });

  it("without most of the disks it comes back from a snapshot in a bucket, and is mended before anything else is done", async () => {
    const [founder, kept, emptied] = await servers();
    assert.ok(founder && kept && emptied);
    const workers = await site.vms("workers");
    await byHand("delete-vm", founder.vmid);
    const recipe = new Recipe(site, "Restore an etcd snapshot");
    for (const vm of [kept.name, emptied.name]) {
      await recipe.on(vm, "systemctl stop");
      await recipe.on(vm, "rke2-killall");
    }
    const silent = await site.evergreen("status", "--stack", "dev");
    assert.equal(silent.code, 1);
    says(silent.output, { what: /^the cluster's API does not answer/, where: /./, todo: section });

    // The disk of the server that made it is gone.
    assert.doesNotMatch(await recipe.on(kept.name, "ls").catch(String), new RegExp(`^${taken}$`, "m"));
    const { endpoint, accessKey, secretKey, folder } = bucket();
    await recipe.on(kept.name, "sed");
    await recipe.on(kept.name, "export", { "=KEY": `=${accessKey}`, "=SECRET": `=${secretKey}` });
    const reset = await recipe.on(kept.name, "rke2 server --cluster-reset --token TOKEN --etcd-s3", {
      TOKEN: await recipe.on(kept.name, "cat"),
      SNAPSHOT: taken,
      ENDPOINT: `${endpoint} --etcd-s3-insecure`,
      REGION: labBucket.region,
      BUCKET: labBucket.bucket,
      FOLDER: folder,
    });
    assert.match(reset, /^Managed etcd cluster membership has been reset/);
    await recipe.on(kept.name, "mv");
    await recipe.on(kept.name, "systemctl start");

    const others = new Recipe(site, "After a reset");
    await others.until("kubectl get --raw", /^ok$/, { ADDRESS: addressOf(kept.vmid) });
    assert.equal(await others.on(emptied.name, "grep"), `server: https://${prefix}.0.5:9345`);
    await others.on(emptied.name, "mv");
    await others.on(emptied.name, "systemctl start");
    await others.until("kubectl get --raw", /^ok$/, { ADDRESS: addressOf(emptied.vmid) });
    for (const worker of workers) await others.on(worker, "systemctl restart");
    const known = async (name: string) =>
      (await site.lab.status).nodes.some((node) => node.name === name && node.ready);
    await site.until("the other server to be a Node again", () => known(emptied.name));

    const gone = {
      what: new RegExp(`the VM of Node ${founder.name} is gone`),
      where: /^slot 0 of pool servers/,
      todo: /evergreen repair/,
    };
    await refused(site, [gone]);
    says(await others.run("npx evergreen status"), gone);
    await others.run("npx evergreen repair");
    await others.run("npx pulumi up");
    await complete();
    assert.deepEqual(await site.vms("workers"), workers);
    await site.lab.call("POST /watcher/reset", undefined);
    await site.lab.call("POST /probe/reset", undefined);
    assert.deepEqual(await site.complaints(), []);
  });

  /** The lab's bucket, as RKE2 is told of it. */
  function bucket() {
    const { AWS_ACCESS_KEY_ID: accessKey = "", AWS_SECRET_ACCESS_KEY: secretKey = "" } = site.lab.env;
    return { ...labBucket, endpoint: `${prefix}.0.3:9000`, folder: "demo/etcd", insecure: true, accessKey, secretKey };
  }

  /** What an engine leaves in its backend whose machine is lost. */
  function lockFrom(hostname: string): void {
    const locks = join(site.lab.directory, "state", ".pulumi", "locks", "organization", PROJECT, "dev");
    mkdirSync(locks, { recursive: true });
    const lock = { pid: 4711, username: "ada", hostname, timestamp: new Date().toISOString() };
    writeFileSync(join(locks, "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed.json"), JSON.stringify(lock));
  }
});
