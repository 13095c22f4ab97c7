import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserErrors } from "../../src/runtime/errors.ts";
import { checkBackupCredentials, checkEnvironment, refuseStandIns } from "../../src/observe/preflight.ts";
import { STAND_IN } from "../../src/runtime/stand-ins.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { smallConfig } from "../support/picture.ts";

describe("before a run reads anything", () => {
  let bare = "";
  let standing = "";
  before(async () => {
    bare = await mkdtemp(join(tmpdir(), "evergreen-preflight-"));
    standing = join(bare, "home");
    const plugin = (name: string) => join(standing, "plugins", name);
    await mkdir(plugin("resource-command-v1.2.1"), { recursive: true });
    await mkdir(plugin("resource-proxmoxve-v8.6.0"), { recursive: true });
    await writeFile(join(plugin("resource-command-v1.2.1"), STAND_IN), "a stand-in\n");
  });
  after(() => rm(bare, { recursive: true }));

  /** What is refused, in a home with the official plugins. */
  const refused = (environment: NodeJS.ProcessEnv): string[] => {
    try {
      checkEnvironment({ PULUMI_HOME: bare, ...environment });
    } catch (error) {
      if (error instanceof UserErrors) return error.problems.map(({ what }) => what);
      throw error;
    }
    return [];
  };

  const flags: [string | undefined, boolean][] = [
    [undefined, false],
    ["", false],
    ["0", false],
    ["false", false],
    ["False", false],
    ["1", true],
    ["true", true],
    ["yes", true],
  ];
  for (const [value, isRefused] of flags) {
    it(`${isRefused ? "refuses" : "allows"} PULUMI_CONTINUE_ON_ERROR=${value ?? "(unset)"}`, () => {
      const whats = refused(value === undefined ? {} : { PULUMI_CONTINUE_ON_ERROR: value });
      assert.equal(whats.length, isRefused ? 1 : 0);
      if (isRefused) assert.match(whats[0] ?? "", /^PULUMI_CONTINUE_ON_ERROR is set/);
    });
  }

  const options: [string, string, boolean][] = [
    ["PULUMI_OPTION_CONTINUE_ON_ERROR", "true", true],
    ["PULUMI_OPTION_CONTINUE_ON_ERROR", "false", false],
    ["PULUMI_OPTION_TARGET", "urn:pulumi:dev::x::y::z", true],
    ["PULUMI_OPTION_TARGET_REPLACE", "**", true],
    ["PULUMI_OPTION_REPLACE", "**", true],
    ["PULUMI_OPTION_EXCLUDE", "**snapshot**", true],
    ["PULUMI_OPTION_TARGET", "", false],
    ["PULUMI_OPTION_PARALLEL", "4", false],
  ];
  for (const [name, value, isRefused] of options) {
    it(`${isRefused ? "refuses" : "allows"} the engine's flag ${name}=${value}`, () => {
      const whats = refused({ [name]: value });
      assert.equal(whats.length, isRefused ? 1 : 0);
      if (isRefused) assert.match(whats[0] ?? "", new RegExp(`^${name} is set: `));
    });
  }

  it("says all that is wrong in one go", () => {
    assert.equal(refused({ PULUMI_OPTION_TARGET: "**", PULUMI_CONTINUE_ON_ERROR: "1" }).length, 2);
  });

  const answers: [string, object, boolean][] = [
    ["a real Proxmox VE behind a tunnel to loopback", { version: "8.4.21" }, true],
    ["an answer that leaves the lab's name empty", { version: "8.4.21", "evergreen-lab": null }, true],
    ["the lab", { version: "8.4.21", "evergreen-lab": "dev" }, false],
  ];
  for (const [who, data, isRefused] of answers) {
    it(`${isRefused ? "keeps stand-ins away from" : "lets stand-ins drive"} ${who}`, async () => {
      await using pve = await fakeProxmox(() => ({ data }));
      assert.match(pve.client.endpoint, /127\.0\.0\.1/);
      const checked = refuseStandIns(pve.client, standing);
      const words = /may drive only the lab: command 1\.2\.1\n.*does not say that it is a lab/;
      await (isRefused ? assert.rejects(checked, words) : checked);
    });
  }

  it("asks nobody where the plugins are the official ones", async () => {
    await using pve = await fakeProxmox(() => ({ data: { version: "8.4.21" } }));
    await refuseStandIns(pve.client, bare);
    assert.equal(pve.seen.length, 0);
  });
});

describe("the credentials of the bucket", () => {
  const s3 = { endpoint: "https://s3.example.com", bucket: "backups" };
  const both = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };
  const missing = (environment: NodeJS.ProcessEnv, backup: object) => {
    try {
      checkBackupCredentials(environment, smallConfig({ backup }));
    } catch (error) {
      if (error instanceof UserErrors) return error.problems.map(({ what }) => what.split(" ")[0]);
      throw error;
    }
    return [];
  };

  it("are asked for when snapshots go to a bucket, each by its name", () => {
    assert.deepEqual(missing({}, {}), []);
    assert.deepEqual(missing(both, { s3 }), []);
    assert.deepEqual(missing({ ...both, AWS_SECRET_ACCESS_KEY: "" }, { s3 }), ["AWS_SECRET_ACCESS_KEY"]);
    assert.deepEqual(missing({}, { s3 }), ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]);
  });
});
