import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { copyImage, planCopy, withVersion } from "../../cli/image/copy.ts";
import { findImage, inspectImages } from "../../src/config/images.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { exampleFolder, exampleText } from "../support/image-folder.ts";

const NAME = "ubuntu-24-04-rke2";

describe("evergreen image", function () {
  this.timeout(60_000);
  let images: string;
  const program = join(projectRoot, "cli", "bin", "evergreen.mjs");
  const run = (...args: string[]) => {
    const all = [program, "image", ...args, "--images", images];
    const { status, stdout, stderr } = spawnSync(process.execPath, all, { cwd: images, encoding: "utf8" });
    return { status, stdout, stderr };
  };
  const json = (...args: string[]): unknown => JSON.parse(run(...args, "--json").stdout);
  beforeEach(() => {
    images = mkdtempSync(join(tmpdir(), "images-"));
    cpSync(exampleFolder, join(images, NAME), { recursive: true });
  });
  afterEach(() => rmSync(images, { recursive: true }));

  it("goes from one version to the next: copy, edit, difference, check", () => {
    const made = run("new", NAME, "--from", NAME);
    assert.equal(made.stderr, "");
    assert.match(
      made.stdout,
      /^ubuntu-24-04-rke2-v1\.1\.0 is ubuntu-24-04-rke2 v1\.1\.0, a copy of ubuntu-24-04-rke2\n/,
    );
    const file = join(images, `${NAME}-v1.1.0`, "image.yaml");
    const copied = readFileSync(file, "utf8");
    assert.equal(copied, exampleText.replace("version: v1.0.0", "version: v1.1.0"));
    writeFileSync(file, copied.replace("  - open-iscsi", "  - jq\n  - open-iscsi"));

    assert.equal(
      run("diff", `${NAME}-v1.0.0`, NAME).stdout,
      [
        "ubuntu-24-04-rke2-v1.0.0 -> ubuntu-24-04-rke2-v1.1.0: 2 differences",
        "definition",
        "  ~ version: v1.0.0 -> v1.1.0",
        "packages",
        "  + jq\n",
      ].join("\n"),
    );
    const { changes } = json("diff", join(images, NAME), NAME) as { changes: { entry: string }[] };
    assert.deepEqual(
      changes.map(({ entry }) => entry),
      ["version", "jq"],
    );
    const list = json("list") as { version: string; digest: string }[];
    assert.deepEqual(
      list.map(({ version }) => version),
      ["v1.0.0", "v1.1.0"],
    );
    assert.notEqual(list[0]?.digest, list[1]?.digest);
    const { status, stdout } = run("verify");
    assert.deepEqual([status, stdout.match(/is right/g)?.length], [0, 2]);
  });

  it("shows what a definition says, with its digest", () => {
    const { stdout } = run("show", NAME);
    for (const line of [
      /^template +ubuntu-24-04-rke2-v1\.0\.0$/m,
      /^digest +[0-9a-f]{64}$/m,
      /^rke2 +v1\.36\.4\+rke2r1, for clusters with cni canal$/m,
      /^files +0644 [0-9a-f]{12} \/etc\/systemd\/journald\.conf\.d\/10-size\.conf$/m,
    ])
      assert.match(stdout, line);
    const { definition, digest } = json("show", NAME) as { definition: { packages: string[] }; digest: string };
    assert.deepEqual(definition.packages, ["nfs-common", "open-iscsi"]);
    assert.ok(stdout.includes(digest));
  });

  it("says what is wrong, where, and what to do, and ends with 1", () => {
    const file = join(images, NAME, "image.yaml");
    writeFileSync(file, exampleText.replace("packages:", "pakages:").replace("20260901T", "20990901T"));
    const verified = run("verify");
    assert.equal(verified.status, 1);
    assert.match(
      verified.stdout,
      /: 1 wrong\nthe key "pakages" is unknown\n {2}where: ubuntu-24-04-rke2\/image\.yaml:11:1 \(pakages\)\n {2}do: {4}did you mean "packages"\?\n/,
    );
    const shown = run("show", NAME);
    assert.deepEqual([shown.status, shown.stdout], [1, ""]);
    assert.match(shown.stderr, /"pakages" is unknown/);
    const listed = run("list");
    assert.equal(listed.status, 1);
    assert.match(listed.stdout, /ubuntu-24-04-rke2: 1 problem, shown by npx evergreen image verify/);

    writeFileSync(file, exampleText.replace("20260901T", "20990901T"));
    const [future] = json("verify") as { problems: { what: string }[] }[];
    assert.match(future?.problems[0]?.what ?? "", /archive of 20990901T000000Z does not exist yet/);
  });
});

describe("a copy of a definition", () => {
  let images: string;
  const plan = (wanted: string, from = NAME) => {
    const all = inspectImages(images);
    return planCopy(all, findImage(all, from), wanted, images);
  };
  beforeEach(() => {
    images = mkdtempSync(join(tmpdir(), "images-"));
    cpSync(exampleFolder, join(images, NAME), { recursive: true });
  });
  afterEach(() => rmSync(images, { recursive: true }));

  it("has the next version of its name, the one that is asked for, or the first of another name", () => {
    const named = (wanted: string) => {
      const { version, folder } = plan(wanted);
      return [version, folder.slice(images.length + 1)];
    };
    assert.deepEqual(named(NAME), ["v1.1.0", `${NAME}-v1.1.0`]);
    assert.deepEqual(named(`${NAME}-v2.0.0`), ["v2.0.0", `${NAME}-v2.0.0`]);
    assert.deepEqual(named("storage"), ["v1.0.0", "storage"]);
    assert.deepEqual(named("storage-v0.1.0"), ["v0.1.0", "storage-v0.1.0"]);
  });

  it("goes on from the newest version of its name, not from the one that is copied", () => {
    copyImage(join(images, NAME), plan(`${NAME}-v1.9.0`));
    assert.equal(plan(NAME, `${NAME}-v1.0.0`).version, "v1.10.0");
  });

  it("is the folder with all its files, read as another version", () => {
    copyImage(join(images, NAME), plan(NAME));
    const { definition, contents } = findImage(inspectImages(images), NAME);
    const before = findImage(inspectImages(images), `${NAME}-v1.0.0`);
    assert.deepEqual(definition, { ...before.definition, version: "v1.1.0" });
    assert.deepEqual([...contents.keys()], [...before.contents.keys()]);
    assert.equal(statSync(join(images, `${NAME}-v1.1.0`)).mode & 0o777, 0o755);
    assert.deepEqual(readdirSync(images), [NAME, `${NAME}-v1.1.0`]);
  });

  it("takes the place of nothing, and has a name that a template can have", () => {
    for (const [wanted, says] of [
      [`${NAME}-v1.0.0`, /there is ubuntu-24-04-rke2 v1\.0\.0 already/],
      ["../outside", /no name that a template can have/],
      ["Ubuntu", /no name that a template can have/],
    ] as const)
      assert.throws(() => plan(wanted), says);
  });

  it("keeps every byte of image.yaml but those of the version", () => {
    const cases: [text: string, expected: string][] = [
      ["# a\nversion:   'v1.0.0' # first\nx: 1\n", "# a\nversion:   v2.0.0 # first\nx: 1\n"],
      ["{ x: 1, version: v1.0.0 }", "{ x: 1, version: v2.0.0 }"],
      ["base:\n  version: v1.0.0\nversion: v1.0.0\r\n", "base:\n  version: v1.0.0\nversion: v2.0.0\r\n"],
    ];
    for (const [text, expected] of cases) assert.equal(withVersion(text, "v2.0.0"), expected);
  });
});
