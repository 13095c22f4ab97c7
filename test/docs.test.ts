import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { neededRights } from "../proxmox/permissions.ts";
import { projectRoot } from "../tools/paths.ts";

const read = (file: string) => readFileSync(join(projectRoot, file), "utf8");
const pages = ["README.md", "docs/design.md", "docs/how-a-rollout-works.md", "docs/messages.md", "docs/production.md"];

describe("the pages", () => {
  const site = {
    proxmoxPool: "evergreen-nodes",
    templatePool: "evergreen-templates",
    storage: "<storage>",
    bridge: "<bridge>",
  };

  it("grant exactly the privileges that a run asks for, each on its path", () => {
    const lines = read("docs/production.md").split("\n");
    const needs = [8, 9].flatMap((major) => neededRights(site, { major }));
    for (const path of new Set(needs.map((need) => need.path))) {
      const row = lines.find((line) => line.startsWith(`| \`${path}\``)) ?? "";
      const shown = [
        ...row
          .split("|")
          .slice(2)
          .join()
          .matchAll(/\b(?:VM|Pool|Datastore|SDN)\.[A-Za-z.]+/g),
      ].map(String);
      const needed = needs.filter((need) => need.path === path).map(({ anyOf }) => anyOf[0]);
      assert.deepEqual(new Set(shown), new Set(needed), path);
    }
    const roles = lines.filter((line) => line.includes("pveum role add")).join("\n");
    for (const { anyOf } of neededRights(site, { major: 9 })) assert.ok(roles.includes(anyOf[0] ?? "?"), anyOf[0]);
  });

  for (const page of pages) {
    it(`lead somewhere: ${page}`, () => {
      const links = [...read(page).matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, target = ""]) => target);
      const files = [...read(page).matchAll(/`((?:[a-z-]+\/)+[a-z-]+\.ts|Pulumi\.[a-z]+\.yaml)`/g)].map(
        ([, file = ""]) => file,
      );
      for (const link of links) assert.ok(existsSync(join(projectRoot, dirname(page), link)), link);
      for (const file of files) assert.ok(existsSync(join(projectRoot, file)), file);
    });
  }
});
