import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Site } from "./site.ts";

/** The first configuration of a stack, made from what the Proxmox API shows, previews. */
describe("evergreen init, end to end", function () {
  this.timeout(120_000);

  for (const [prefix, hosts] of [
    ["127.97", ["pve1"]],
    ["127.101", ["pve1", "pve2"]],
    ["127.102", ["pve1", "pve2", "pve3"]],
  ] as const)
    describe(`on a site of ${hosts.length}`, () => {
      let site: Site;

      before(async () => {
        site = await Site.create(prefix, { hosts });
      });

      after(async () => {
        await site.close();
      });

      const init = (...more: string[]) =>
        site.evergreen("init", "--stack", "fresh", "--registration-address", `${prefix}.0.5`, ...more);

      it("writes a configuration that previews", async () => {
        const { code, output } = await init("--first-address", `${prefix}.0.11`, "--servers", "1");
        assert.equal(code, 0, output);
        const text = await readFile(join(site.project, "Pulumi.fresh.yaml"), "utf8");
        assert.match(text, new RegExp(`hosts: \\[${hosts.join(", ")}\\]`));
        assert.match(text, new RegExp(`gateway: ${prefix}\\.0\\.1\n +prefixLength: 24`));
        await site.expect(0, "stack", "init", "fresh");
        const preview = await site.expect(0, "preview", "--stack", "fresh");
        assert.match(preview, /create servers: .*v1\.1\.0.*, 1 slots/);
        assert.match(preview, /create workers: .*, 3 slots/);
      });

      it("overwrites nothing", async () => {
        const before = await readFile(join(site.project, "Pulumi.fresh.yaml"), "utf8");
        const { code, output } = await init();
        assert.equal(code, 1);
        assert.match(output, /the stack fresh has a configuration already/);
        assert.equal(await readFile(join(site.project, "Pulumi.fresh.yaml"), "utf8"), before);
      });
    });
});
