import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Site } from "./site.ts";

const prefix = "127.74";
const project = join("examples", "node-pool");
const args = ["--yes", "--skip-preview", "--stack", "dev"];

/** A program of somebody's own, as it is in the repository but for the names of its site. */
describe("the example node-pool, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create(prefix);
    const file = join(site.project, project, "index.ts");
    const text = await readFile(file, "utf8");
    const here = text
      .replaceAll("10.30.0.", `${prefix}.0.`)
      .replace('"local-lvm"', '"local"')
      .replace('"edge"', '"demo"');
    assert.equal(here.match(/"127\.74\.0\.\d+"|"local"|"demo"/g)?.length, 7);
    await writeFile(file, here);
    await site.expect(0, "--cwd", project, "stack", "init", "dev");
  });

  after(async () => {
    await site.close();
  });

  it("makes the cluster, with resources of its own between the parts", async () => {
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
