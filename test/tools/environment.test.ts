import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { stackOf } from "../../cli/stack.ts";
import { engineEnvironment, labEnvironment } from "../../tools/environment.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { cacheRoot, pulumiHome } from "../../tools/paths.ts";
import { STAND_IN, standIns } from "../../src/runtime/stand-ins.ts";
import { Scratch } from "./fakes.ts";

describe("the stack of a Pulumi command line", () => {
  const cases: [string, NodeJS.ProcessEnv, string | undefined][] = [
    ["up --stack prod", {}, "prod"],
    ["up --stack=prod --yes", {}, "prod"],
    ["preview -s prod", {}, "prod"],
    ["up -s=prod", {}, "prod"],
    ["up --stack acme/evergreen/prod", {}, "prod"],
    ["stack select prod", {}, "prod"],
    ["stack init acme/prod", {}, "prod"],
    ["cancel --yes prod", {}, "prod"],
    ["stack ls", {}, "dev"],
    ["up", { PULUMI_STACK: "prod" }, "prod"],
    ["up --stack dev", { PULUMI_STACK: "prod" }, "dev"],
    ["config set --stack prod key --stackless", {}, "prod"],
    ["config set name -- --stack", {}, "dev"],
    ["--stack prod up", {}, "prod"],
    ["-C . -s prod up", {}, "prod"],
    ["up -yfs prod", {}, "prod"],
    ["up -sprod", {}, "prod"],
    ["up -m -s", {}, "dev"],
    ["up", { PULUMI_OPTION_STACK: "prod", PULUMI_STACK: "other" }, "prod"],
    ["--color never login file:///tmp/x", {}, undefined],
    ["login file:///tmp/x", {}, undefined],
    ["--logtostderr logout", {}, undefined],
    ["", {}, "dev"],
  ];
  for (const [line, env, stack] of cases) {
    it(`${stack ?? "none"}: pulumi ${line} ${JSON.stringify(env)}`, () => {
      assert.equal(stackOf(line.split(" ").filter(Boolean), "/nowhere", env), stack);
    });
  }

  it("is the selected one", () => {
    using home = new Scratch();
    const hash = createHash("sha1").update(join(projectRoot, "Pulumi.yaml")).digest("hex");
    home.file(`workspaces/evergreen-${hash}-workspace.json`, '{"stack":"acme/evergreen/prod"}');
    assert.equal(stackOf(["up"], home.path, {}), "prod");
    assert.equal(stackOf(["up", "--stack", "dev"], home.path, {}), "dev");
  });
});

describe("the environment of the engine", () => {
  const lab = {
    PROXMOX_VE_ENDPOINT: "https://127.40.0.2:8006",
    PROXMOX_VE_API_TOKEN: "lab@pve!dev=1",
    NODE_EXTRA_CA_CERTS: "/lab/ca.pem",
    SSL_CERT_DIR: "/lab/certs",
    PULUMI_BACKEND_URL: "file:///lab/state",
    PULUMI_CONFIG_PASSPHRASE: "lab",
  };

  it("gets what the lab says", () => {
    using scratch = new Scratch();
    assert.deepEqual(labEnvironment({}, scratch.file("env.json", JSON.stringify(lab))), lab);
    assert.deepEqual(labEnvironment({}, join(scratch.path, "none.json")), {});
  });

  it("keeps what the user has set", () => {
    using scratch = new Scratch();
    const file = scratch.file("env.json", JSON.stringify(lab));
    const { PULUMI_CONFIG_PASSPHRASE: mine, ...rest } = labEnvironment({ PULUMI_CONFIG_PASSPHRASE: "mine" }, file);
    assert.equal(mine, undefined);
    assert.deepEqual({ ...rest, PULUMI_CONFIG_PASSPHRASE: "lab" }, lab);
  });

  it("is the user's alone with a site of the user's: neither the lab's backend nor its passphrase comes in", () => {
    using scratch = new Scratch();
    const file = scratch.file("env.json", JSON.stringify(lab));
    assert.deepEqual(labEnvironment({ PROXMOX_VE_ENDPOINT: "https://real:8006" }, file), {});
    assert.deepEqual(labEnvironment({ PROXMOX_VE_ENDPOINT: "" }, file), lab);
  });

  it("trusts the lab's authority for the lab, whatever else the user trusts", () => {
    using scratch = new Scratch();
    const file = scratch.file("env.json", JSON.stringify(lab));
    assert.equal(labEnvironment({ NODE_EXTRA_CA_CERTS: "/corporate.pem" }, file).NODE_EXTRA_CA_CERTS, "/lab/ca.pem");
  });

  it("finds our Node first, then the language host, and no user's plugins", () => {
    const user = { PATH: "/usr/bin:/host::/usr/bin", PULUMI_HOME: "/users/own", KEPT: "yes" };
    const settings = { home: "/cache/pulumi-home", path: ["/host"], stack: "prod", user };
    const env = engineEnvironment({ ...settings, extra: { EXTRA: "1" } });
    assert.equal(env.PATH, `${projectRoot}/node_modules/.bin:/host:/usr/bin`);
    assert.equal(env.PULUMI_HOME, "/cache/pulumi-home");
    assert.equal(env.PULUMI_SKIP_UPDATE_CHECK, "true");
    assert.equal(env.KEPT, "yes");
    assert.equal(env.EXTRA, "1");
  });
});

describe("the cache", () => {
  it("is where EVERGREEN_CACHE or XDG_CACHE_HOME say", () => {
    assert.equal(cacheRoot({ EVERGREEN_CACHE: "/a", XDG_CACHE_HOME: "/b" }), "/a");
    assert.equal(cacheRoot({ XDG_CACHE_HOME: "/b" }), "/b/evergreen");
    assert.match(cacheRoot({ XDG_CACHE_HOME: "relative" }), /^\/.*\/\.cache\/evergreen$/);
    assert.equal(pulumiHome("/a"), "/a/pulumi-home");
  });
});

describe("stand-ins", () => {
  it("are the plugins with a mark", () => {
    using home = new Scratch();
    home.file(`plugins/resource-command-v1.2.1/${STAND_IN}`, "");
    home.file("plugins/resource-proxmoxve-v8.6.0/pulumi-resource-proxmoxve", "");
    assert.deepEqual(standIns(home.path), ["command 1.2.1"]);
    assert.deepEqual(standIns(join(home.path, "none")), []);
  });
});
