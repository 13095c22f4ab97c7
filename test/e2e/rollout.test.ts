import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { NodeBaseline } from "../../src/domain/images/baseline.ts";
import { Operator } from "../lab/support/operator.ts";
import { Site } from "./site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const older = "ubuntu-24.04-rke2-v1.0.0";

describe("a cluster, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.70");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 3 });
    await site.up();
    await site.load({ replicas: 6 });
  });

  after(async () => {
    await site.close();
  });

  it("was created, and an update after it changes nothing, also after a refresh", async () => {
    assert.equal((await site.vms("servers")).length, 1);
    assert.equal((await site.vms("workers")).length, 3);
    await site.unchanged();
    await site.expect(0, "refresh", "--yes", "--skip-preview", "--stack", "dev");
    await site.unchanged();
  });

  it("rolls its agents under load without a failed request, and finds nothing to do afterwards", async () => {
    const before = await site.vms("workers");
    await site.configure({ "pools.0.image": newer });
    await site.up();
    const after = await site.vms("workers");
    assert.equal(after.length, 3);
    assert.ok(!after.some((name) => before.includes(name)));
    assert.deepEqual(await site.complaints(), []);
    await site.unchanged();
  });

  it("compares each node with its image, and names what somebody has changed", async () => {
    const all = await site.evergreen("baseline");
    assert.equal(all.code, 0, all.output);
    assert.match(all.output, /^4 of 4 nodes are as their images$/m);
    const { vms } = await site.lab.status;
    const changed = vms.find(({ name }) => name.startsWith("demo-workers-1-"));
    assert.ok(changed);
    const operator = new Operator(site.lab);
    try {
      const list = await operator.readFile(changed.vmid, "/var/lib/dpkg/status");
      const older = list.replace(/(Package: openssl\n[^]*?Version: ).*/, "$11.0-1");
      await operator.writeFile(changed.vmid, "/var/lib/dpkg/status", older);
      await operator.writeFile(changed.vmid, "/run/reboot-required", "*** System restart required ***\n");
    } finally {
      await operator.close();
    }
    const ran = await site.evergreen("baseline", "--output", "json");
    assert.equal(ran.code, 13, ran.output);
    const { nodes } = JSON.parse(ran.output) as { nodes: NodeBaseline[] };
    const drift = nodes.flatMap(({ name, drift }) => drift.map(({ weight, what }) => `${name} ${weight} ${what}`));
    assert.match(
      drift.join("\n"),
      /^demo-workers-1-\w+ other ~ openssl \S+ -> 1\.0-1 \(downgraded\)\n\S+ owed a reboot is pending$/,
    );
  });

  it("keeps its secrets out of the state, the history and every VM's configuration", async () => {
    const credential = site.lab.env.PROXMOX_VE_API_TOKEN;
    const secrets = [credential.slice(credential.indexOf("=") + 1), "::server:", "PRIVATE KEY"];
    // A join token, whole: the hash of the CA, then its id and its secret.
    const token = /K10[0-9a-f]{64}::/;
    const files = await readdir(join(site.lab.directory, "state"), { recursive: true, withFileTypes: true });
    const texts = files
      .filter((file) => file.isFile())
      .map((file): [string, string] => [file.name, readFileSync(join(file.parentPath, file.name), "utf8")]);
    assert.ok(
      texts.some(([, text]) => text.includes("demo-workers-0")),
      "the state was read",
    );
    const operator = new Operator(site.lab);
    for (const { vmid, name } of (await site.lab.status).vms)
      texts.push([name, JSON.stringify(await operator.pve("GET", `nodes/pve1/qemu/${vmid}/config`))]);
    await operator.close();
    for (const [name, text] of texts) {
      for (const secret of secrets) assert.ok(!text.includes(secret), `${secret.slice(0, 8)}... in ${name}`);
      assert.doesNotMatch(text, token, name);
    }
  });

  it("goes back by the last good commit", async () => {
    const ran = await site.evergreen("rollback", "--stack", "dev", "--yes");
    assert.equal(ran.code, 0, ran.output);
    assert.deepEqual(await site.complaints(), []);
    await site.configure({ "pools.0.image": older });
    await site.unchanged();
  });
});
