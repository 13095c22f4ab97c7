import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Site } from "./site.ts";

const prefix = "127.74";
const args = ["--yes", "--skip-preview", "--stack", "dev"];

/** Programs of somebody's own, as they are in the repository but for the names of their site. */
describe("the examples, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create(prefix);
  });

  after(async () => {
    await site.close();
  });

  /** Makes a stack of an example. @param names what the example calls what this lab calls otherwise */
  const prepare = async (project: string, names: [example: string, here: string][]): Promise<void> => {
    const file = join(site.project, project, "index.ts");
    let text = await readFile(file, "utf8");
    for (const [example, here] of names) {
      assert.ok(text.includes(example), example);
      text = text.replaceAll(example, here);
    }
    await writeFile(file, text);
    await site.expect(0, "--cwd", project, "stack", "init", "dev");
  };

  it("plan two clusters from one program, before there is any", async () => {
    const project = join("examples", "two-clusters");
    await prepare(project, [
      ['hosts: ["pve1", "pve2", "pve3"]', 'hosts: ["pve1"]'],
      ['"ceph-vm"', '"local"'],
    ]);
    const output = await site.expect(0, "--cwd", project, "preview", "--stack", "dev");
    for (const cluster of ["staging", "production"]) {
      assert.match(output, new RegExp(`evergreen:index:Cluster ${cluster} create`));
      // Its plan, under its own name.
      assert.match(output, new RegExp(`Cluster \\(${cluster}\\):\\s+create servers: .* 3 slots`));
      for (const slot of [0, 5])
        assert.match(output, new RegExp(`VmLegacy ${cluster}-workers-${slot}-[0-9a-f]{8} create`));
      assert.match(output, new RegExp(`command:local:Command ${cluster}-guard create`));
    }
    assert.deepEqual(await site.vms("servers"), []);
  });

  const project = join("examples", "node-pool");

  it("make a cluster with resources of the program between its parts", async () => {
    await prepare(project, [
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

  it("have nothing to do in the next update", async () => {
    await site.expect(0, "--cwd", project, "up", ...args, "--expect-no-changes");
  });
});
