import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Kube, readKubeconfig } from "../../lab/kube.ts";
import { addressesOf } from "../../lab/site.ts";
import { Operator } from "../lab/support/operator.ts";
import { Site } from "./site.ts";

const args = ["--yes", "--skip-preview", "--stack", "dev"];

/** Makes a stack of an example. @param names what the example calls what this lab calls otherwise */
async function prepare(site: Site, project: string, names: [example: string, here: string][]): Promise<void> {
  const file = join(site.project, project, "index.ts");
  let text = await readFile(file, "utf8");
  for (const [example, here] of names) {
    assert.ok(text.includes(example), example);
    text = text.replaceAll(example, here);
  }
  await writeFile(file, text);
  await site.expect(0, "--cwd", project, "stack", "init", "dev");
}

/** A program of somebody's own, as it is in the repository but for the names of its site. */
describe("the example of two clusters, end to end", function () {
  this.timeout(400_000);
  const prefix = "127.81";
  const project = join("examples", "two-clusters");
  const first = { staging: 5000, production: 6000 };
  let site: Site;
  let operator: Operator;

  before(async () => {
    site = await Site.create(prefix);
    operator = new Operator(site.lab);
    await prepare(site, project, [
      ["${network}.5`", "${network}.${5 + number}`"],
      ["${network}.20`", "${network}.${20 + 20 * number}`"],
      ["${network}.100`", "${network}.${100 + 50 * number}`"],
      ["10.${20 + number}.0", `${prefix}.0`],
      ['hosts: ["pve1", "pve2", "pve3"]', 'hosts: ["pve1"]'],
      ['"ceph-vm"', '"local"'],
      ["controlPlane: { image", "controlPlane: { servers: 1, image"],
      ["slots: 6", "slots: 2"],
      ["image,\n        slots", 'image: "ubuntu-24.04-rke2-v1.0.0",\n        slots'],
      [", canary: 1", ""],
      ["surge: 2", "surge: 1"],
    ]);
  });

  after(async () => {
    await operator.close();
    await site.close();
  });

  /** What the lab has seen happen to the VMs and Nodes, in its order. */
  const seen = async (): Promise<string[]> => (await site.lab.events()).map(({ text }) => text);

  /** Names of the Nodes of a cluster that are Ready, as its only server says. */
  const nodesOf = async (server: number, registration: string): Promise<string[]> => {
    const kubeconfig = await operator.readFile(server, "/etc/rancher/rke2/rke2.yaml");
    const kube = new Kube(readKubeconfig(kubeconfig.replace("127.0.0.1", registration)));
    try {
      const { body } = await kube.call<{
        items: { metadata: { name: string }; status: { conditions: { type: string; status: string }[] } }[];
      }>("GET", "/api/v1/nodes");
      return body.items
        .filter(({ status }) => status.conditions.some((one) => one.type === "Ready" && one.status === "True"))
        .map(({ metadata }) => metadata.name.replace(/-[0-9a-f]{8}$/, ""))
        .sort();
    } finally {
      await kube.close();
    }
  };

  it("plans both before there is any", async () => {
    const output = await site.expect(0, "--cwd", project, "preview", "--stack", "dev");
    for (const cluster of ["staging", "production"]) {
      assert.match(output, new RegExp(`evergreen:index:Cluster ${cluster} create`));
      // Its plan, under its own name.
      assert.match(output, new RegExp(`Cluster \\(${cluster}\\):\\s+create servers: .* 1 slots`));
      for (const slot of [0, 1])
        assert.match(output, new RegExp(`VmLegacy ${cluster}-workers-${slot}-[0-9a-f]{8} create`));
      assert.match(output, new RegExp(`command:local:Command ${cluster}-guard create`));
    }
    assert.deepEqual(await site.vms("servers"), []);
  });

  it("makes the second once all nodes of the first serve", async () => {
    await site.expect(0, "--cwd", project, "up", ...args);
    const { registration, secondRegistration } = addressesOf(prefix);
    assert.deepEqual(await nodesOf(first.staging, registration), [
      "staging-servers-0",
      "staging-workers-0",
      "staging-workers-1",
    ]);
    assert.deepEqual(await nodesOf(first.production, secondRegistration), [
      "production-servers-0",
      "production-workers-0",
      "production-workers-1",
    ]);
    const events = await seen();
    const joined = events.findLastIndex((text) => /^staging-.* joined$/.test(text));
    const made = events.findIndex((text) => /^\d+ production-.* created$/.test(text));
    assert.ok(joined >= 0 && joined < made, `${joined} ${made}`);
    assert.deepEqual([(await site.vms("servers")).length, (await site.vms("workers")).length], [2, 4]);
    assert.deepEqual((await site.lab.status).violations, []);
  });

  it("takes a new image to the second once all nodes of the first are of it", async () => {
    const file = join(site.project, project, "index.ts");
    await writeFile(file, (await readFile(file, "utf8")).replace("v1.0.0", "v1.1.0"));
    await site.expect(0, "--cwd", project, "up", ...args);
    const events = await seen();
    const gone = events.findLastIndex((text) => /^staging-.* off$/.test(text));
    const made = events.findIndex((text) => /^610[23] production-.* created$/.test(text));
    assert.ok(gone >= 0 && gone < made, `${gone} ${made}`);
    assert.equal((await site.vms("workers")).length, 4);
    assert.deepEqual((await site.lab.status).violations, []);
  });

  it("has nothing to do in the next update", async () => {
    await site.expect(0, "--cwd", project, "up", ...args, "--expect-no-changes");
  });
});

/** The same with resources of the program between the parts of a cluster. */
describe("the example of a node pool, end to end", function () {
  this.timeout(300_000);
  const prefix = "127.74";
  let site: Site;

  before(async () => {
    site = await Site.create(prefix);
  });

  after(async () => {
    await site.close();
  });

  const project = join("examples", "node-pool");

  it("makes a cluster", async () => {
    await prepare(site, project, [
      ["10.30.0.", `${prefix}.0.`],
      ['"local-lvm"', '"local"'],
      ['"edge"', '"demo"'],
    ]);
    const output = await site.expect(0, "--cwd", project, "up", ...args);
    assert.match(output, /announced created/);
    for (const [pool, count] of [
      ["servers", 1],
      ["workers", 3],
      ["ingress", 2],
    ] as const)
      assert.equal((await site.vms(pool)).length, count, pool);
    const said = await site.expect(0, "--cwd", project, "stack", "output", "--json", "--stack", "dev");
    const { addresses } = JSON.parse(said) as { addresses: Record<string, string[]> };
    assert.deepEqual([addresses["demo-workers"]?.length, addresses["demo-ingress"]?.length], [3, 2]);
    assert.deepEqual(await site.complaints(), []);
  });

  it("has nothing to do in the next update", async () => {
    await site.expect(0, "--cwd", project, "up", ...args, "--expect-no-changes");
  });
});
