import assert from "node:assert/strict";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { site as places } from "../../lab/proxmox/site.ts";
import { labSources } from "../../lab/web.ts";
import { keyPair } from "../evidence/image.ts";
import { Operator } from "../lab/support/operator.ts";
import { imageYaml, LAB_RKE2 } from "./lab-image.ts";
import { Site, type Ran } from "./site.ts";

const key = keyPair();
const first = "lab-image-v1.0.0";
const second = "lab-image-v1.1.0";

describe("a stack that bakes its images, end to end", function () {
  this.timeout(600_000);
  let site: Site;
  const sign = { EVERGREEN_IMAGE_KEY: key.privateKey };
  const update = ["up", "--yes", "--skip-preview", "--stack", "dev"];

  before(async () => {
    site = await Site.create("127.107");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2 });
    await site.up();
  });

  after(async () => {
    await site.close();
  });

  /** Writes a definition, with the list of all that the stack bakes. */
  async function list(...versions: string[]): Promise<void> {
    for (const version of versions) {
      const folder = join(site.project, "images", `lab-image-${version}`);
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, "image.yaml"), imageYaml(version, [], LAB_RKE2));
    }
    const images = versions.map((version, i) => ({
      ...{ image: `lab-image-${version}`, vmid: 9500 + i, proofVmid: 9550 + i },
    }));
    await site.configure({
      images: {
        keys: [{ name: "site", publicKey: key.publicKey, from: "2026-01-01" }],
        bakes: {
          images,
          range: { first: 9500, last: 9599 },
          place: { host: places.node, imageStorage: places.imageStorage },
          sources: { snapshots: labSources.snapshots, rke2: labSources.rke2 },
        },
      },
    });
  }

  /** Names of templates of bakes, and of what else has one of their VMIDs. */
  async function remains(): Promise<{ templates: string[]; others: string[] }> {
    const { vms } = await site.lab.status;
    const own = vms.filter(({ vmid }) => vmid >= 9500 && vmid < 9600);
    const names = (isTemplate: boolean) =>
      own.filter(({ template }) => template === isTemplate).map(({ name }) => name);
    return { templates: names(true), others: names(false) };
  }

  const up = (environment: NodeJS.ProcessEnv = sign, ...more: string[]): Promise<Ran> =>
    site.pulumi([...update, ...more], environment);

  /** Does something with the token of bakes, as somebody else may. */
  async function withBakeToken(work: (baker: Operator) => Promise<unknown>): Promise<void> {
    const { EVERGREEN_BAKE_API_TOKEN: token = "", ...env } = site.lab.env;
    const baker = new Operator({ env: { ...env, PROXMOX_VE_API_TOKEN: token } });
    await work(baker).finally(() => baker.close());
  }

  it("says in a preview what it bakes, proves and rolls", async () => {
    await list("v1.0.0");
    await site.configure({ "pools.0.image": first, "pools.0.diskGiB": 10 });
    const refused = await site.pulumi(["preview", "--stack", "dev"]);
    assert.notEqual(refused.code, 0);
    assert.match(refused.output, /the template's disk has 12 GiB, and a clone shall have 10/);
    await site.configure({ "pools.0.diskGiB": 12 });
    const output = await site.expect(0, "preview", "--stack", "dev");
    assert.match(
      output,
      /bake lab-image-v1\.0\.0 \(definition sha256:[0-9a-f]{16}, VM 9500 on pve1\), prove it, then roll workers/,
    );
    assert.match(output, /image ubuntu-24\.04-rke2-v1\.0\.0 -> lab-image-v1\.0\.0/);
    const status = await site.evergreen("status", "--stack", "dev");
    assert.match(status.output, /bake lab-image-v1\.0\.0 \(definition .*\), prove it, then roll workers/);
    assert.deepEqual(await remains(), { templates: [], others: [] });
  });

  it("is refused without the key that signs, before anything is made", async () => {
    const { code, output } = await up({});
    assert.notEqual(code, 0);
    assert.match(output, /there is no key to sign the records of lab-image-v1\.0\.0/);
    assert.deepEqual(await remains(), { templates: [], others: [] });
  });

  it("keeps its nodes when a bake fails, and names the stage and the log", async () => {
    const before = await site.vms("workers");
    await site.lab.call("POST /faults", { kind: "bake", fault: "fails", stage: "units", output: ["no units"] });
    const { code, output } = await up();
    await site.lab.call("DELETE /faults", undefined);
    assert.notEqual(code, 0);
    assert.match(output, /the bake of lab-image-v1\.0\.0 failed: the stage units of the bake failed/);
    const log = /where: +(bakes\/\S+\.log)/.exec(output)?.[1] ?? "";
    assert.match(await readFile(join(site.project, log), "utf8"), /no units/);
    assert.deepEqual(await site.vms("workers"), before);
    assert.deepEqual(await remains(), { templates: [], others: [] });
  });

  it("bakes, proves and rolls in one update, and finds nothing to do afterwards", async () => {
    const before = await site.vms("workers");
    const { code, output } = await up();
    assert.equal(code, 0, output);
    assert.ok(output.includes("lab-image-v1.0.0: bake, stage describe"), output);
    const after = await site.vms("workers");
    assert.equal(after.length, 2);
    assert.ok(!after.some((name) => before.includes(name)));
    assert.deepEqual(await remains(), { templates: [first], others: [] });
    const { vms } = await site.lab.status;
    assert.deepEqual(
      vms.filter(({ name }) => after.includes(name)).map(({ image }) => image),
      [first, first],
    );
    // No token and no key is needed where nothing is to be done.
    const again = await up({ EVERGREEN_BAKE_API_TOKEN: undefined }, "--expect-no-changes");
    assert.equal(again.code, 0, again.output);
    assert.deepEqual(await site.vms("workers"), after);
    await site.expect(0, "refresh", "--yes", "--skip-preview", "--stack", "dev");
    assert.equal((await up(sign, "--expect-no-changes")).code, 0);
    const state = await site.expect(0, "stack", "export", "--stack", "dev");
    const [, secretPart = "-"] = key.privateKey.split("\n");
    assert.ok(!state.includes(secretPart), "the key is not in the state");
    assert.ok(!state.includes(site.lab.env.EVERGREEN_BAKE_API_TOKEN ?? "-"), "the token is not in the state");
  });

  it("keeps its nodes when a proof fails, and names the evidence; the next version is rolled", async () => {
    const before = await site.vms("workers");
    await list("v1.0.0", "v1.1.0");
    const tests = join(site.project, "images", "lab-image-v1.1.0", "tests");
    await mkdir(tests);
    await writeFile(join(tests, "10-false"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    await site.configure({ "pools.0.image": second });
    const { code, output } = await up();
    assert.notEqual(code, 0);
    assert.match(output, /lab-image-v1\.1\.0 is unfit: \d+ of its checks and tests failed/);
    assert.match(output, /where: +bakes\/\S+\.log/);
    assert.deepEqual(await site.vms("workers"), before);
    const { templates, others } = await remains();
    assert.deepEqual([templates.toSorted(), others], [[first, second], []]);
  });

  it("bakes a template again that somebody has removed, although the state has its bake", async () => {
    await withBakeToken((baker) => baker.pve("DELETE", "nodes/pve1/qemu/9501"));
    await rm(join(site.project, "images", "lab-image-v1.1.0", "tests"), { recursive: true });
    const { code, output } = await up();
    assert.equal(code, 0, output);
    assert.ok(output.includes("lab-image-v1.1.0: bake, stage describe"), output);
    const { vms } = await site.lab.status;
    const workers = await site.vms("workers");
    assert.deepEqual(
      vms.filter(({ name }) => workers.includes(name)).map(({ image }) => image),
      [second, second],
    );
    assert.equal((await up(sign, "--expect-no-changes")).code, 0);
  });

  it("goes back to an image whose record was written after the commit that names it", async () => {
    const ran = await site.evergreen("rollback", "--stack", "dev", "--yes");
    assert.equal(ran.code, 0, ran.output);
    assert.ok(!ran.output.includes("bake, stage"), ran.output);
    const workers = await site.vms("workers");
    const { vms } = await site.lab.status;
    assert.deepEqual(
      vms.filter(({ name }) => workers.includes(name)).map(({ image }) => image),
      [first, first],
    );
    const forward = await up();
    assert.equal(forward.code, 0, forward.output);
  });

  it("does not prove anew what somebody has edited, and makes no node of it", async () => {
    const before = await site.vms("workers");
    await withBakeToken((baker) => baker.pve("PUT", "nodes/pve1/qemu/9501/config", { cores: "8" }));
    await site.configure({ "pools.0.rollout": 1 });
    const { code, output } = await up();
    assert.notEqual(code, 0);
    assert.match(output, /the configuration of the template was edited after it was recorded/);
    await site.configure({ "pools.0.rollout": undefined });
    assert.deepEqual(await site.vms("workers"), before);
  });

  it("removes no template that leaves the list", async () => {
    const before = await site.vms("workers");
    await site.configure({ "images.bakes": undefined });
    const { code, output } = await up({ EVERGREEN_BAKE_API_TOKEN: undefined });
    assert.equal(code, 0, output);
    const { templates, others } = await remains();
    assert.deepEqual([templates.toSorted(), others], [[first, second], []]);
    assert.deepEqual(await site.vms("workers"), before);
  });

  it("takes images over that are there already, without a key, and proves nothing anew", async () => {
    await list("v1.0.0", "v1.1.0");
    const { code, output } = await up({});
    assert.equal(code, 0, output);
    assert.doesNotMatch(output, /is booted twice/);
    await site.configure({ "pools.0.rollout": 1 });
    const refused = await up();
    assert.match(refused.output, /the configuration of the template was edited after it was recorded/);
    await site.configure({ "pools.0.rollout": undefined });
  });

  it("destroys its nodes, and no template", async () => {
    await site.expect(0, "destroy", "--yes", "--skip-preview", "--stack", "dev");
    const { templates, others } = await remains();
    assert.deepEqual([templates.toSorted(), others], [[first, second], []]);
    assert.deepEqual([await site.vms("servers"), await site.vms("workers")], [[], []]);
  });
});
