import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { backendOf, type Backend } from "../../src/recovery/backend.ts";

describe("the backend of a stack", () => {
  let project = "";
  let home = "";
  beforeEach(async () => {
    [project, home] = [await mkdtemp(join(tmpdir(), "eg-")), await mkdtemp(join(tmpdir(), "eg-"))];
    await writeFile(join(project, "Pulumi.yaml"), "name: evergreen\n");
  });
  afterEach(() => Promise.all([project, home].map((path) => rm(path, { recursive: true }))));

  const file = (directory: string): Backend => ({ kind: "file", directory });
  const urls: [string, () => Backend][] = [
    ["file:///var/state%20of/it?x=1", () => file("/var/state of/it")],
    ["file://~", () => file(homedir())],
    ["file://~/state", () => file(join(homedir(), "state"))],
    ["file://./state", () => file(join(project, "state"))],
    ["file://state", () => file(join(project, "state"))],
    ["s3://bucket?endpoint=x", () => ({ kind: "objects" })],
    ["gs://bucket", () => ({ kind: "objects" })],
    ["azblob://bucket", () => ({ kind: "objects" })],
    ["https://api.pulumi.com", () => ({ kind: "service" })],
  ];
  for (const [url, expected] of urls) {
    it(`is told by ${url} in the environment`, () => {
      assert.deepEqual(backendOf({ PULUMI_HOME: home, PULUMI_BACKEND_URL: url }, project), expected());
    });
  }

  it("is what the project names, else where the user is logged in, else Pulumi Cloud", async () => {
    const environment = { PULUMI_HOME: home };
    assert.deepEqual(backendOf(environment, project), { kind: "service" });
    await writeFile(join(home, "credentials.json"), '{"current":"s3://bucket"}');
    assert.deepEqual(backendOf(environment, project), { kind: "objects" });
    await writeFile(join(project, "Pulumi.yaml"), "name: evergreen\nbackend:\n  url: file:///state\n");
    assert.deepEqual(backendOf(environment, project), file("/state"));
    assert.deepEqual(backendOf({ ...environment, PULUMI_BACKEND_URL: "s3://b" }, project), { kind: "objects" });
  });
});
