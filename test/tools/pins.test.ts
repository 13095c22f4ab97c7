import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { compareVersions, findGo, OLDEST_GO } from "../../tools/go.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { cacheRoot } from "../../tools/paths.ts";
import { goTools, plugins, proxmoxStandIn, type GoTool } from "../../tools/pins.ts";
import { Store } from "../../tools/store.ts";

const read = (...path: string[]) => readFileSync(join(projectRoot, ...path), "utf8");

/** The module that each tool is built from, as go.mod requires it. */
const requirements: Record<string, string> = {
  pulumi: "github.com/pulumi/pulumi/pkg/v3 v3.259.0",
  "pulumi-language-nodejs": "github.com/pulumi/pulumi/sdk/v3 v3.68.0",
  proxmoxve: "github.com/bpg/terraform-provider-proxmox v0.112.0",
  versitygw: "github.com/versity/versitygw v1.8.0",
  etcd: "go.etcd.io/etcd/server/v3 v3.6.5",
  etcdutl: "go.etcd.io/etcd/etcdutl/v3 v3.6.5",
  "kube-apiserver": "k8s.io/kubernetes v1.34.4",
  "kube-controller-manager": "k8s.io/kubernetes v1.34.4",
  "kube-scheduler": "k8s.io/kubernetes v1.34.4",
};

describe("the table of pinned tools", () => {
  for (const tool of goTools) {
    describe(tool.name, () => {
      const goMod = () => read(tool.module, "go.mod");

      it("is required by its module in the version that it says", () => {
        const requirement = requirements[tool.name] ?? "";
        assert.match(
          goMod(),
          new RegExp(`^(?:require )?\\s*${requirement.replaceAll(".", "\\.")}(?: // indirect)?$`, "m"),
        );
        // The provider counts for itself: its pin is that of the npm package.
        if (tool !== proxmoxStandIn) assert.ok(requirement.endsWith(`v${tool.version}`));
      });

      it("has every sum of its modules, and builds with the oldest Go that is promised", () => {
        assert.ok(existsSync(join(projectRoot, tool.module, "go.sum")));
        const wanted = /^go (\S+)$/m.exec(goMod())?.[1] ?? "99";
        assert.ok(compareVersions(wanted, OLDEST_GO) <= 0, `go.mod wants Go ${wanted}`);
      });
    });
  }

  it("has the plugins that the npm packages ask for", () => {
    for (const [name, npm] of [
      ["command", "@pulumi/command"],
      ["proxmoxve", "@muhlba91/pulumi-proxmoxve"],
    ] as const) {
      const { pulumi, version } = JSON.parse(read("node_modules", npm, "package.json")) as NpmPackage;
      const pin = plugins.find((plugin) => plugin.name === name);
      assert.deepEqual(
        { name: pin?.name, version: pin?.version, server: pin?.server },
        { name: pulumi.name, version: pulumi.version, server: pulumi.server },
      );
      assert.equal(version, pin?.version);
    }
    assert.equal(proxmoxStandIn.version, plugins.find(({ name }) => name === "proxmoxve")?.version);
  });
});

interface NpmPackage {
  version: string;
  pulumi: { name: string; version: string; server?: string };
}

interface Schema {
  resources: Record<string, { properties?: Record<string, unknown> }>;
  functions: Record<string, { inputs?: { properties?: Record<string, unknown> } }>;
}

describe("the proxmoxve plugin that is built from upstream", function () {
  this.timeout(1_200_000);
  let schema: Schema;

  before(async () => {
    schema = JSON.parse(await schemaOf(proxmoxStandIn)) as Schema;
  });

  it("has every resource of the npm package, with the same properties", () => {
    const resources = npmSources().flatMap((text) => {
      const token = /__pulumiType = '(proxmoxve:[^']+)'/.exec(text)?.[1];
      return token === undefined ? [] : [{ token, properties: names(text, /resourceInputs\["(\w+)"\] = state\?\./g) }];
    });
    assert.equal(resources.length, 115);
    for (const { token, properties } of resources)
      assert.deepEqual(properties, sorted(Object.keys(schema.resources[token]?.properties ?? {})), token);
    assert.equal(Object.keys(schema.resources).length, resources.length, "no resource beside those");
  });

  it("has every function of the npm package, with the same inputs", () => {
    const functions = new Map<string, string[]>();
    for (const text of npmSources())
      for (const [, token = "", inputs = ""] of text.matchAll(/invoke\("(proxmoxve:[^"]+)", \{([^}]*)\}/g))
        functions.set(token, names(inputs, /"(\w+)":/g));
    assert.equal(functions.size, 91);
    for (const [token, inputs] of functions)
      assert.deepEqual(inputs, sorted(Object.keys(schema.functions[token]?.inputs?.properties ?? {})), token);
  });
});

async function schemaOf(tool: GoTool): Promise<string> {
  const program = await new Store(cacheRoot(), true).program(tool, await findGo());
  const { stdout } = await promisify(execFile)(program, ["-schema"], { maxBuffer: 1e9 });
  return stdout;
}

function npmSources(): string[] {
  const root = join(projectRoot, "node_modules", "@muhlba91", "pulumi-proxmoxve");
  return globSync("**/*.js", { cwd: root, exclude: ["node_modules"] }).map((file) =>
    readFileSync(join(root, file), "utf8"),
  );
}

function names(text: string, pattern: RegExp): string[] {
  return sorted([...new Set([...text.matchAll(pattern)].map(([, name = ""]) => name))]);
}

function sorted(list: string[]): string[] {
  return [...list].sort();
}
