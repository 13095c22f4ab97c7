import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { neededRights } from "../src/clients/proxmox/permissions.ts";
import { projectRoot } from "../src/runtime/project.ts";

const read = (file: string) => readFileSync(join(projectRoot, file), "utf8");
const pages = [
  "README.md",
  "CONTRIBUTING.md",
  "docs/components.md",
  "docs/configuration.md",
  "docs/design.md",
  "docs/glossary.md",
  "docs/how-a-rollout-works.md",
  "docs/image-keys.md",
  "docs/images.md",
  "docs/messages.md",
  "docs/production.md",
  "docs/recovery.md",
  "docs/simulation.md",
  "docs/sites.md",
];

/** What leads to the headings of a page. */
function anchorsOf(page: string): string[] {
  const headings = [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => heading);
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^a-z0-9 -]/g, "")
      .replaceAll(" ", "-"),
  );
}

/** The rows of the table of privileges: a path, and what is needed on it. */
function tableRows(page: string): { path: string; cells: string[] }[] {
  return page.split("\n").flatMap((line) => {
    const [, path = "", rest = ""] = /^\| `(\/[^`]+)`\s*\|(.*)$/.exec(line) ?? [];
    return path === "" ? [] : [{ path, cells: rest.split("|") }];
  });
}

/** The privileges of a cell, without those of the other version: `A B` and `C` (8.x) or `D` (9.x). */
function privilegesIn(cell: string, major: number): string[] {
  return [...cell.matchAll(/`([^`]+)`(?: \((\d)\.x\))?/g)]
    .filter(([, , only]) => only === undefined || Number(only) === major)
    .flatMap(([, names = ""]) => names.split(" "));
}

/** The privileges of each role that the commands make, on a version. */
function rolesIn(page: string, major: number): Map<string, string[]> {
  const line = page.split("\n").find((one) => one.includes("_AGENT=") && one.includes(`# ${major}.x`)) ?? "";
  const variables = new Map([...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = "", value = ""]) => [name, value]));
  const commands = [...page.matchAll(/pveum role add (\S+) --privs "([^"]*)"/g)];
  return new Map(
    commands.map(([, role = "", names = ""]) => [
      role,
      names.replace(/\$(\w+)/g, (_, name: string) => variables.get(name) ?? name).split(" "),
    ]),
  );
}

describe("the pages", () => {
  it("have every section of the recovery guide that a message names", () => {
    const sources = [
      "src/observe/reachability.ts",
      "src/steps/cluster/control-plane.ts",
      "src/clients/kubernetes/errors.ts",
    ]
      .map(read)
      .join("\n");
    const named = [...sources.matchAll(/docs\/recovery\.md[^"\n]*"([^"]+)"(?:, "([^"]+)")?/g)].flatMap(([, ...found]) =>
      found.filter(Boolean),
    );
    assert.ok(named.length >= 3, named.join());
    for (const name of named) assert.ok(read("docs/recovery.md").includes(`\n## ${name}\n`), name);
  });

  const site = {
    proxmoxPool: "evergreen-nodes",
    templatePool: "evergreen-templates",
    storage: "<storage>",
    bridge: "<bridge>",
  };

  for (const [column, purpose] of (["replace", "read"] as const).entries()) {
    for (const major of [8, 9]) {
      const needed = neededRights(site, { major }, purpose).map(({ path, anyOf }) => `${path} ${anyOf[0] ?? ""}`);

      it(`show the privileges to ${purpose} on ${major}.x, each on its path`, () => {
        const shown = tableRows(read("docs/production.md")).flatMap(({ path, cells }) =>
          privilegesIn(cells[column] ?? "", major).map((name) => `${path} ${name}`),
        );
        assert.deepEqual(shown.sort(), needed.sort());
      });

      it(`give the token to ${purpose} on ${major}.x exactly these, and its user as well`, () => {
        const page = read("docs/production.md");
        const roles = rolesIn(page, major);
        const users = purpose === "read" ? "evergreen-read@pve" : "evergreen@pve";
        const loop = page
          .split("for who in ")
          .find((part) => part.startsWith(`'--users ${users}' '--tokens ${users}!`));
        const given = [...((loop ?? "").split("done")[0]?.matchAll(/acl modify (\S+) \$who --roles (\S+)/g) ?? [])];
        const granted = given.flatMap(([, path = "", role = ""]) =>
          (roles.get(role) ?? []).map(
            (name) => `${path.replace("STORAGE", "<storage>").replace("BRIDGE", "<bridge>")} ${name}`,
          ),
        );
        assert.deepEqual(granted.sort(), needed.sort());
      });
    }
  }

  for (const page of pages) {
    it(`lead somewhere: ${page}`, () => {
      const links = [...read(page).matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, target = ""]) => target);
      const anchors = [...read(page).matchAll(/\]\((?!https?:)([^)#]*)#([^)]+)\)/g)];
      const files = [...read(page).matchAll(/`((?:[a-z-]+\/)+[a-z-]+\.ts|Pulumi\.[a-z]+\.yaml)`/g)].map(
        ([, file = ""]) => file,
      );
      for (const link of links) assert.ok(existsSync(join(projectRoot, dirname(page), link)), link);
      for (const [, target = "", anchor = ""] of anchors)
        assert.ok(
          anchorsOf(target === "" ? page : join(dirname(page), target)).includes(anchor),
          `${target}#${anchor}`,
        );
      for (const file of files) assert.ok(existsSync(join(projectRoot, file)), file);
    });
  }

  for (const page of ["docs/design.md", "CONTRIBUTING.md"])
    it(`name functions that are where they say: ${page}`, () => {
      const named = [...read(page).matchAll(/((?:`\w+`(?:,|,? and)?\s+)+)of\s+`([\w./-]+\.ts)`/g)];
      const missing = named.flatMap(([, names = "", file = ""]) => {
        const source = existsSync(join(projectRoot, file)) ? read(file) : "";
        return [...names.matchAll(/`(\w+)`/g)]
          .filter(([, name = ""]) => !new RegExp(`\\b${name}\\b`).test(source))
          .map(([, name = ""]) => `${name} of ${file}`);
      });
      assert.ok(named.length > 4, `${named.length}`);
      assert.deepEqual(missing, []);
    });
});
