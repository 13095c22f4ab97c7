import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bundle } from "../../tools/bundle.mjs";
import { installedPulumi } from "../../tools/cli.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { pulumiHome } from "../../tools/paths.ts";
import { installOfficial, recentFailure } from "../../tools/official.ts";
import { commandStandIn, installStandIn, isStandIn, pluginState } from "../../tools/plugins.ts";
import { standIns } from "../../src/runtime/stand-ins.ts";
import { Scratch } from "./fakes.ts";

const plugin = { name: "command", version: "1.2.1", purpose: "" };

describe("the plugins", () => {
  let scratch: Scratch;
  let cache: string;

  beforeEach(() => {
    scratch = new Scratch();
    cache = join(scratch.path, "cache");
  });

  afterEach(() => scratch[Symbol.dispose]());

  const installing = `d=$PULUMI_HOME/plugins/resource-$4-v$5; mkdir -p $d; echo official > $d/pulumi-resource-$4; chmod +x $d/pulumi-resource-$4`;

  it("are the official ones where releases can be reached", async () => {
    const cli = scratch.script("pulumi", installing);
    assert.equal(pluginState(cache, plugin), "missing");
    assert.equal(await installOfficial(cache, cli, plugin, true), true);
    assert.equal(pluginState(cache, plugin), "official");
    assert.deepEqual(standIns(pulumiHome(cache)), []);
    assert.deepEqual(readdirSync(cache), ["pulumi-home"], "nothing is left beside them");
  });

  it("are asked for where their makers publish them", async () => {
    const cli = scratch.script("pulumi", `echo "$@" > ${scratch.path}/asked; exit 1`);
    await installOfficial(cache, cli, { ...plugin, server: "github://x" }, true);
    const asked = readFileSync(join(scratch.path, "asked"), "utf8").trim();
    assert.equal(asked, "plugin install resource command 1.2.1 --server github://x --non-interactive");
  });

  it("may come slowly: as long as something comes there is no limit", async () => {
    const drip = "for i in 1 2 3 4 5 6 7 8; do echo more >> $TMPDIR/archive; sleep 0.3; done";
    const cli = scratch.script("pulumi", `${drip}; ${installing}`);
    assert.equal(await installOfficial(cache, cli, plugin, true, 2000), true);
  });

  it("are given up when nothing comes any more, with why", async () => {
    const cli = scratch.script("pulumi", "echo some > $TMPDIR/archive; exec sleep 60");
    assert.equal(await installOfficial(cache, cli, plugin, true, 300), false);
    assert.equal(recentFailure(cache, plugin)?.why, "nothing came for 0.3 s");
  });

  it("are given up as soon as the release host is known to be out of reach, and that is remembered", async () => {
    const cli = scratch.script("pulumi", "echo 'dial tcp: lookup x: no such host' >&2; exec sleep 20");
    const started = performance.now();
    assert.equal(await installOfficial(cache, cli, plugin, true), false);
    assert.ok(performance.now() - started < 5000);
    assert.match(recentFailure(cache, plugin)?.why ?? "", /no such host/);
    assert.equal(pluginState(cache, plugin), "missing");
  });

  it("may be asked for again by the lab after a day", async () => {
    await installOfficial(cache, scratch.script("pulumi", "echo gone >&2; exit 1"), plugin, true);
    assert.equal(recentFailure(cache, plugin)?.why, "gone");
    const file = `cache/official/command-1.2.1.json`;
    scratch.file(file, JSON.stringify({ at: new Date(Date.now() - 25 * 3600 * 1000).toISOString(), why: "gone" }));
    assert.equal(recentFailure(cache, plugin), undefined);
  });

  it("stand in with a mark, and make way for the official ones", async () => {
    const program = scratch.script("first", "true");
    installStandIn(cache, plugin, program);
    assert.equal(pluginState(cache, plugin), "stand-in");
    assert.deepEqual(standIns(pulumiHome(cache)), ["command 1.2.1"]);
    assert.equal(isStandIn(cache, plugin, program), true);

    const newer = scratch.script("second", "true");
    assert.equal(isStandIn(cache, plugin, newer), false);
    installStandIn(cache, plugin, newer);
    assert.equal(isStandIn(cache, plugin, newer), true);

    await installOfficial(cache, scratch.script("pulumi", installing), plugin, true);
    assert.equal(pluginState(cache, plugin), "official");
    assert.deepEqual(readdirSync(join(pulumiHome(cache), "plugins")), ["resource-command-v1.2.1"]);
  });

  it("stand in as programs that start by themselves", async () => {
    await bundle();
    const { path: program, make } = commandStandIn(cache, plugin);
    make();
    make();
    const port = execFileSync(program, { input: "", encoding: "utf8", env: { PATH: "/usr/bin:/bin" } });
    assert.match(port, /^\d+\n$/);
    assert.equal(readdirSync(join(cache, "tools")).length, 1);
  });
});

describe("the Pulumi CLI of the machine", () => {
  let scratch: Scratch;
  beforeEach(() => (scratch = new Scratch()));
  afterEach(() => scratch[Symbol.dispose]());

  const find = (...directories: string[]) =>
    installedPulumi(join(scratch.path, "cache"), { PATH: directories.join(":") });

  it("is used when it is new enough, with the language host beside it", async () => {
    const path = scratch.script("bin/pulumi", "echo v3.220.0");
    const languageHost = scratch.script("bin/pulumi-language-nodejs", "true");
    assert.deepEqual(await find(join(scratch.path, "bin")), { path, version: "3.220.0", languageHost });
  });

  it("is not used when it is older, broken, our launcher or something that we built", async () => {
    scratch.script("old/pulumi", "echo v3.219.9");
    scratch.script("broken/pulumi", "exit 1");
    scratch.script("cache/tools/pulumi-3.259.0-x/pulumi", "echo v3.259.0");
    const directories = ["old", "broken", "cache/tools/pulumi-3.259.0-x"].map((name) => join(scratch.path, name));
    assert.equal(await find(...directories, join(projectRoot, "node_modules", ".bin")), undefined);
  });

  it("is the first that will do", async () => {
    scratch.script("old/pulumi", "echo v3.100.0");
    const path = scratch.script("new/pulumi", "echo v3.300.0");
    const found = await find(join(scratch.path, "old"), join(scratch.path, "new"));
    assert.deepEqual(found, { path, version: "3.300.0", languageHost: undefined });
  });
});
