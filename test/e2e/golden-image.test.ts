import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { site as places } from "../../lab/proxmox/site.ts";
import { labSources } from "../../lab/web.ts";
import { readRecord } from "../../src/evidence/image-records.ts";
import { keyPair } from "../evidence/image.ts";
import { Operator } from "../lab/support/operator.ts";
import { imageYaml } from "./lab-image.ts";
import { Site, type Ran } from "./site.ts";

/** The program of somebody who bakes one image, with the token of bakes for all. */
const program = `
import { GoldenImage } from "./components/index.ts";

const given = ${JSON.stringify({
  definition: "images/lab-image",
  vmid: 9500,
  vmIds: { first: 9500, last: 9599 },
  proofVmid: 9599,
  place: {
    ...{ host: places.node, pool: places.templates, storage: places.storage, imageStorage: places.imageStorage },
    bridge: places.bridge,
  },
  sources: { snapshots: labSources.snapshots, rke2: labSources.rke2 },
})};
const image = new GoldenImage("lab", { ...given, signingKey: process.env.LAB_IMAGE_KEY });
export const { template } = image;
`;

const key = keyPair();

describe("a golden image as a component, end to end", function () {
  this.timeout(300_000);
  let site: Site;
  let baker: Operator;
  let environment: NodeJS.ProcessEnv;
  const args = ["up", "--yes", "--skip-preview", "--stack", "dev"];

  before(async () => {
    site = await Site.create("127.106");
    const { EVERGREEN_BAKE_API_TOKEN: token = "", ...env } = site.lab.env;
    environment = { PROXMOX_VE_API_TOKEN: token, LAB_IMAGE_KEY: key.privateKey };
    baker = new Operator({ env: { ...env, PROXMOX_VE_API_TOKEN: token } });
    await writeFile(join(site.project, "index.ts"), program);
    await mkdir(join(site.project, "images", "lab-image"));
  });

  after(async () => {
    await baker.close();
    await site.close();
  });

  async function define(version: string, packages: readonly string[] = []): Promise<void> {
    await writeFile(join(site.project, "images", "lab-image", "image.yaml"), imageYaml(version, packages));
  }

  const run = (...more: string[]): Promise<Ran> => site.pulumi([...args, ...more], environment);

  async function up(...more: string[]): Promise<string> {
    const { code, output } = await run(...more);
    assert.equal(code, 0, output);
    return output;
  }

  /** What is in the data centre of bakes. */
  async function remains(): Promise<{ templates: string[]; others: string[]; cds: number }> {
    const { vms } = await site.lab.status;
    const own = vms.filter(({ vmid }) => vmid >= 9500 && vmid < 9600);
    const cds = await baker.pve("GET", `nodes/pve1/storage/${places.imageStorage}/content`, { content: "iso" });
    return {
      templates: own.filter(({ template }) => template).map(({ name }) => name),
      others: own.filter(({ template }) => !template).map(({ name }) => name),
      cds: (cds as unknown[]).length,
    };
  }

  it("is baked by pulumi up, and unchanged after that", async () => {
    await define("v1.0.0");
    const output = await up();
    for (const told of ["bake, stage quiet", "bake, stage describe", "seal, stage trim"])
      assert.ok(output.includes(`lab-image-v1.0.0: ${told}`), `${told}: ${output}`);
    assert.deepEqual(await remains(), { templates: ["lab-image-v1.0.0"], others: [], cds: 0 });
    await up("--expect-no-changes");
    const said = await site.expect(0, "stack", "output", "--json", "--stack", "dev");
    const { template } = JSON.parse(said) as { template: Record<string, unknown> };
    assert.deepEqual([template.image, template.vmid, template.host], ["lab-image-v1.0.0", 9500, "pve1"]);
    const state = await site.expect(0, "stack", "export", "--stack", "dev");
    assert.ok(!state.includes(environment.PROXMOX_VE_API_TOKEN ?? "-"), "the token is not in the state");
    const [, secretPart = "-"] = key.privateKey.split("\n");
    assert.ok(!state.includes(secretPart), "the key is not in the state");
    const { record } = JSON.parse(await site.expect(0, "stack", "output", "template", "--json", "--stack", "dev")) as {
      record: string;
    };
    const found = await readRecord(join(site.project, "records"), record, [key.trusted]);
    assert.ok(found?.tests.kind === "signed" && found.tests.statement.isPassed);
    const { subject } = found.tests.statement;
    assert.deepEqual([subject.name, subject.version, subject.templates.length], ["lab-image", "v1.0.0", 1]);
  });

  it("is refused when the definition says something else under the same version", async () => {
    await define("v1.0.0", ["chrony-tools"]);
    const { code, output } = await run();
    assert.notEqual(code, 0);
    assert.match(output, /lab-image-v1\.0\.0 was baked as VM 9500, and is another image/);
    assert.match(output, /do: +give the definition another version/);
  });

  it("goes on where a run was killed with kill -9, under a VMID of its own", async () => {
    await writeFile(join(site.project, "index.ts"), program.replace('"vmid":9500', '"vmid":9501'));
    await define("v1.1.0", ["chrony-tools"]);
    const running = site.start(args, environment);
    await site.until("the guest of the bake", async () => {
      const { vms } = await site.lab.status;
      return vms.some(({ vmid, running: isOn }) => vmid === 9501 && isOn);
    });
    process.kill(running.pid, "SIGKILL");
    await running.ended;
    await site.pulumi(["cancel", "--yes", "--stack", "dev"], environment);
    await up();
    assert.deepEqual(await remains(), { templates: ["lab-image-v1.0.0", "lab-image-v1.1.0"], others: [], cds: 0 });
    assert.match(await readFile(join(site.project, "index.ts"), "utf8"), /9501/);
  });

  it("that fails says which stage it was, and leaves a log and nothing else", async () => {
    await writeFile(join(site.project, "index.ts"), program.replace('"vmid":9500', '"vmid":9502'));
    await define("v1.2.0");
    await site.lab.call("POST /faults", { kind: "bake", fault: "fails", stage: "units", output: ["no units"] });
    const { code, output } = await run();
    await site.lab.call("DELETE /faults", undefined);
    assert.notEqual(code, 0);
    assert.match(
      output,
      /the bake of lab-image-v1\.2\.0 failed: the stage units of the bake failed: false: exit code 1/,
    );
    const log = /where: +(bakes\/\S+\.log)/.exec(output)?.[1] ?? "";
    assert.match(await readFile(join(site.project, log), "utf8"), /no units/);
    const { others, cds } = await remains();
    assert.deepEqual([others, cds], [[], 0]);
  });
});
