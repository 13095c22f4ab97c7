import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scrub } from "../../src/steps/process.ts";

const source = join(import.meta.dirname, "../../src/steps/process.ts");
/** A step that waits for its end, and says why it came. */
const waiting = `
  import { stopSignal } from ${JSON.stringify(source)};
  const stop = stopSignal();
  setInterval(() => undefined, 1000);
  process.stdout.write("up " + process.pid + "\\n");
  stop.addEventListener("abort", () => { process.stdout.write(stop.reason.message + "\\n"); if (process.argv[1] !== "deaf") process.exit(0); });
`;
const program = ["--input-type=module-typescript", "--eval", waiting];

describe("the process of a step", () => {
  it("forgets what belongs to the engine alone, and keeps its credentials", () => {
    const environment: Record<string, string | undefined> = {
      PULUMI_CONFIG_PASSPHRASE: "secret",
      PULUMI_CONFIG_PASSPHRASE_FILE: "/x",
      PULUMI_CONFIG: "{}",
      PULUMI_CONFIG_SECRET_KEYS: "[]",
      PULUMI_ACCESS_TOKEN: "t",
      PULUMI_COMMAND_STDOUT: "{}",
      PROXMOX_VE_API_TOKEN: "t",
      PATH: "/bin",
    };
    scrub(environment, "join");
    assert.deepEqual(Object.keys(environment).sort(), ["PATH", "PROXMOX_VE_API_TOKEN", "PULUMI_COMMAND_STDOUT"]);
  });

  it("keeps the token of bakes, and the key of records, for the verbs that use them", () => {
    const left = (verb: string) => {
      const environment: Record<string, string | undefined> = {
        EVERGREEN_BAKE_API_TOKEN: "t",
        EVERGREEN_IMAGE_KEY: "k",
      };
      scrub(environment, verb);
      return Object.keys(environment);
    };
    assert.deepEqual(left("prove"), ["EVERGREEN_BAKE_API_TOKEN", "EVERGREEN_IMAGE_KEY"]);
    assert.deepEqual(left("bake"), ["EVERGREEN_BAKE_API_TOKEN"]);
    assert.deepEqual(left("join"), []);
  });

  it("keeps the credentials of the bucket for the one verb that looks into it", () => {
    const left = (verb: string) => {
      const environment: Record<string, string | undefined> = { AWS_SECRET_ACCESS_KEY: "s", AWS_SESSION_TOKEN: "t" };
      scrub(environment, verb);
      return Object.keys(environment);
    };
    assert.deepEqual(left("snapshot"), ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]);
    for (const verb of ["rollout", "join", "handover", "verify", ""]) assert.deepEqual(left(verb), []);
  });

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it(`stops at a safe point after ${signal}`, async () => {
      const step = spawn(process.execPath, program, { stdio: ["ignore", "pipe", "inherit"] });
      let said = "";
      step.stdout.setEncoding("utf8").on("data", (text: string) => {
        if (text.startsWith("up")) step.kill(signal);
        said += text;
      });
      await once(step, "close");
      assert.match(said, new RegExp(`stopped at a safe point: ${signal} was received`));
    });
  }

  it("ends at once after a second signal", async () => {
    const step = spawn(process.execPath, [...program, "deaf"], { stdio: ["ignore", "pipe", "inherit"] });
    step.stdout.setEncoding("utf8").on("data", () => step.kill("SIGTERM"));
    const [code] = (await once(step, "close")) as [number];
    assert.equal(code, 1);
  });

  /** Arguments of Node that start another Node with these arguments. */
  const starting = (args: string[]): string[] => [
    "--eval",
    `require("node:child_process").spawn(process.execPath, JSON.parse(process.argv[1]), { stdio: "inherit" })`,
    JSON.stringify(args),
  ];
  const killed = [
    { who: "whoever started it", args: starting(program), says: /the process that started this step has ended/ },
    {
      who: "the engine, and its plugin lives on",
      args: starting(starting(program)),
      says: /the engine that this step works for has ended/,
    },
  ];
  for (const { who, args, says } of killed) {
    it(`stops when somebody kills ${who}`, async () => {
      const parent = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
      let said = "";
      parent.stdout.setEncoding("utf8").on("data", (text: string) => {
        if (text.startsWith("up")) parent.kill("SIGKILL");
        said += text;
      });
      // The pipe closes when the orphan has ended too.
      await once(parent, "close");
      assert.match(said, says);
    });
  }
});

describe("a step of a bare pulumi", () => {
  const main = join(import.meta.dirname, "../../src/steps/main.ts");
  const plugin = `require("node:child_process").spawnSync(process.execPath, JSON.parse(process.argv[1]), { stdio: "inherit" })`;
  let engines = "";
  before(() => {
    engines = mkdtempSync(join(tmpdir(), "evergreen-engine-"));
    const step = ["--eval", plugin, JSON.stringify([main, "retire"])];
    const text = `require("node:child_process").spawnSync(process.execPath, ${JSON.stringify(step)}, { stdio: "inherit" })`;
    for (const command of ["up", "destroy", "preview"]) writeFileSync(join(engines, command), text);
  });
  after(() => rmSync(engines, { recursive: true }));

  const lines: [string, RegExp][] = [
    ["up --target urn:x", /--target: only a part of the steps would run/],
    ["up --yes -t urn:x", /--target: only a part/],
    ["up --replace=urn:x", /--replace: only a part/],
    ["up --exclude urn:x", /--exclude: only a part/],
    ["up --continue-on-error", /--continue-on-error: the engine would delete old nodes/],
    ["destroy --target urn:x --target-dependents", /--target: only a part[^]*--target-dependents: only a part/],
    ["up --yes --continue-on-error=false", /PROXMOX_VE_ENDPOINT is not set/],
    ["preview --target urn:x", /PROXMOX_VE_ENDPOINT is not set/],
  ];
  for (const [line, says] of lines) {
    it(`${says.source.startsWith("PROXMOX") ? "works" : "refuses"} when the engine was started by ${line}`, () => {
      const env = { PATH: process.env.PATH ?? "" };
      const { status, stdout, stderr } = spawnSync(process.execPath, line.split(" "), {
        cwd: engines,
        env,
        encoding: "utf8",
      });
      assert.equal(status, 0);
      assert.match(stdout + stderr, says);
    });
  }
});
