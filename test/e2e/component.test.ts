import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Site } from "./site.ts";

/** The program of somebody who declares the cluster of the stack as a component. */
const program = `
import { runtime } from "@pulumi/pulumi";
import { Cluster } from "./components/cluster.ts";
import { ownSettings } from "./src/config/config.ts";

const demo = new Cluster("demo", ownSettings(runtime.allConfig()));
export const { nodes, generations } = demo;
`;

describe("a cluster as a component, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.59");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 1 });
    await site.up();
    await writeFile(join(site.project, "index.ts"), program);
  });

  after(async () => {
    await site.close();
  });

  const vms = async (): Promise<string[]> => [...(await site.vms("servers")), ...(await site.vms("workers"))];

  it("says in one message why there is no plan, and deletes nothing of what it did not declare", async () => {
    const before = (await site.state()).resources?.length;
    const ran = await site.pulumi(["up", "--yes", "--skip-preview", "--stack", "dev"], {
      PROXMOX_VE_ENDPOINT: "https://127.59.0.99:8006",
    });
    assert.notEqual(ran.code, 0, ran.output);
    assert.match(ran.output, /where:.*127\.59\.0\.99/);
    assert.equal(ran.output.match(/^ +error:/gm)?.length, 1, ran.output);
    assert.doesNotMatch(ran.output, /deleted|unhandled|\n +at /);
    assert.ok(((await site.state()).resources?.length ?? 0) >= (before ?? 1));
    assert.equal((await vms()).length, 2);
  });

  it("takes over what the stack has had at its top, and changes nothing of it", async () => {
    const nodes = await vms();
    const output = await site.up();
    assert.doesNotMatch(output, /updated|deleted|replaced/);
    assert.deepEqual(await vms(), nodes);
    const { resources = [] } = await site.state();
    for (const name of nodes) {
      const found = resources.filter(({ urn }) => urn.endsWith(`::${name}`));
      assert.deepEqual(
        found.map(({ urn }) => urn.includes("::evergreen:index:Cluster$evergreen:index:NodePool$")),
        [true],
        name,
      );
    }
  });

  it("says its nodes, and has nothing to do in the next update", async () => {
    await site.unchanged();
    const said = JSON.parse(await site.expect(0, "stack", "output", "--json", "--stack", "dev")) as {
      nodes: Record<string, { name: string }[]>;
    };
    const names = ["servers", "workers"].flatMap((pool) => said.nodes[pool]?.map(({ name }) => name));
    assert.deepEqual(names, await vms());
  });
});
