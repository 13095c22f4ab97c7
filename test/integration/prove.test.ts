import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readRecord } from "../../src/evidence/image-records.ts";
import { UserError } from "../../src/runtime/errors.ts";
import { keyPair } from "../evidence/image.ts";
import { BakeStage } from "../support/bake-step.ts";
import { boundariesOf, isAt, told } from "../support/boundaries.ts";
import { labBake } from "../lab/support/bake-site.ts";

const key = keyPair();
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

describe("the proof of a template", function () {
  this.timeout(600_000);
  let stage: BakeStage;

  before(async () => {
    stage = await BakeStage.start(28_412);
    await stage.lab.download(labBake());
  });
  afterEach(async () => {
    await stage.clear();
    rmSync(join(stage.definition, "tests"), { recursive: true, force: true });
    rmSync(stage.proofOrder().records, { recursive: true, force: true });
    rmSync(stage.evidence, { recursive: true, force: true });
  });
  after(async () => stage.stop());

  const templateDisk = (): Map<string, Buffer> => {
    const volumes = [...(stage.lab.bench.dc.storages.get("local")?.volumes.values() ?? [])];
    const disk = volumes.find(({ volid }) => volid.includes("base-9100-disk-0"))?.files;
    assert.ok(disk);
    return disk;
  };
  const refusals = () => stage.refusals(stage.proofOrder(), [key.trusted]);
  /** An order of a definition with these tests. */
  const withTests = (tests: Record<string, string>) => {
    mkdirSync(join(stage.definition, "tests"), { recursive: true });
    const files = Object.entries(tests).map(([path, text]) => {
      writeFileSync(join(stage.definition, "tests", path), text);
      return { path, sha256: sha256(text), mode: "0755" };
    });
    return stage.proofOrder(stage.order({}, labBake({ tests: files })));
  };
  const failureOf = async (work: Promise<unknown>): Promise<UserError["problem"]> => {
    const error = await work.then(
      () => assert.fail("it has not failed"),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof UserError, String(error));
    return error.problem;
  };

  it("writes a signed record, by which a rollout clones it, and leaves nothing else", async () => {
    const order = withTests({ volumes: "#!/bin/sh\ntest -f /etc/os-release\n" });
    await stage.bake(order.bake);
    assert.deepEqual(await refusals(), ["the template has no record"]);
    const proved = await stage.prove(order, key.signing);
    assert.deepEqual(await refusals(), []);
    assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] });
    const found = await readRecord(order.records, proved.record, [key.trusted]);
    assert.ok(found?.sbom.kind === "signed" && found.tests.kind === "signed");
    assert.ok(found.sbom.statement.contents.packages.some(({ name }) => name === "chrony-tools"));
    const { contents, templates } = found.tests.statement.subject;
    assert.match(contents, /^[0-9a-f]{64}$/);
    assert.equal(templates.length, 1);
  });

  it("is not made again while its record is good", async () => {
    const order = stage.proofOrder();
    await stage.bake(order.bake);
    const proved = await stage.prove(order, key.signing);
    const { bench } = stage.lab;
    let changes = 0;
    bench.dc.fault = (_, { method }) => {
      if (method !== "GET") changes += 1;
      return undefined;
    };
    assert.deepEqual(await stage.prove(order, key.signing), proved);
    assert.equal(changes, 0);
    bench.dc.fault = undefined;
    const other = keyPair("next");
    assert.notEqual((await stage.prove(order, other.signing)).record, proved.record, "signed with the next key");
  });

  it("says which test of the definition failed, and the record says it to every rollout", async () => {
    const order = withTests({ "10-good": "#!/bin/sh\ntrue\n", "20-bad": "#!/bin/sh\necho no volumes\nexit 3\n" });
    await stage.bake(order.bake);
    const problem = await failureOf(stage.prove(order, key.signing));
    assert.match(problem.what, /lab-image-v1\.2\.0 is unfit: 1 .* tests\/20-bad: exit code 3: no volumes/);
    assert.match(stage.logs().join(""), /tests\/20-bad: exit code 3/);
    assert.deepEqual(await refusals(), ["the image failed its tests: tests/20-bad"]);
    assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] });
  });

  const defects: [title: string, path: string, text: string, found: RegExp][] = [
    ["has another package", "/var/lib/dpkg/status", "", /contents .*- chrony-tools/],
    ["has another protected file", "/etc/os-release", 'NAME="Other"\n', /contents .*etc\/os-release/],
    ["swaps", "/etc/fstab", "/swap.img none swap sw 0 0\n", /boot 1: swap looks at/],
  ];
  for (const [title, path, text, found] of defects)
    it(`finds that a clone ${title}`, async () => {
      const order = stage.proofOrder();
      await stage.bake(order.bake);
      const disk = templateDisk();
      const before = disk.get(path)?.toString() ?? "";
      const after = text === "" ? before.replace(/Package: chrony-tools\n[^]*?\n(?:\n|$)/, "") : text;
      assert.notEqual(after, before);
      disk.set(path, Buffer.from(after));
      await failureOf(stage.prove(order, key.signing));
      assert.match(stage.logs().join(""), found);
      assert.match((await refusals()).join(), /failed its tests: boot 1: /);
    });

  it("fails when the clone never answers, names what it waited for, and leaves nothing", async () => {
    const order = stage.proofOrder();
    await stage.bake(order.bake);
    const packages = templateDisk().get("/var/lib/dpkg/status")?.toString() ?? "";
    const without = packages.replace("Package: qemu-guest-agent", "Package: another-agent");
    templateDisk().set("/var/lib/dpkg/status", Buffer.from(without));
    const problem = await failureOf(stage.prove(order, key.signing));
    assert.match(problem.what, /boot 1 of proof-lab-image-v1\.2\.0/);
    assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] });
    assert.deepEqual(await refusals(), ["the template has no record"]);
  });

  it("touches no VM of others that has its VMID, and no template that is not of its bake", async () => {
    const order = stage.proofOrder();
    assert.match((await failureOf(stage.prove(order, key.signing))).what, /VM 9100 is not the template/);
    await stage.bake(order.bake);
    await stage.lab.bench.task("POST", "nodes/pve1/qemu/9100/clone", { newid: 9101, name: "theirs", full: 0 });
    const problem = await failureOf(stage.prove(order, key.signing));
    assert.match(problem.what, /VM 9101 is for the proof of lab-image-v1\.2\.0, and another VM has that VMID/);
    assert.ok(stage.remains().vms.includes("theirs"));
  });

  it("that is killed at any request is made by the next run, which leaves one template and nothing else", async () => {
    const order = stage.proofOrder();
    await stage.bake(order.bake);
    const boundaries = await boundariesOf(stage, () => stage.prove(order, key.signing));
    assert.ok(boundaries.filter(({ moment }) => moment === "after").length >= 8, "all changes are among them");
    const faults: string[] = [];
    for (const boundary of boundaries) {
      await stage.clear();
      await stage.bake(order.bake);
      const isKilled = await stage.proveKilled(order, key.signing, isAt(boundary));
      if (!isKilled) faults.push(`${told(boundary)}: it was not killed`);
      await stage
        .prove(order, key.signing)
        .catch((error: unknown) => faults.push(`${told(boundary)}: ${String(error)}`));
      const wrong = [...(await refusals()), ...stage.remains().vms.filter((name) => name !== "lab-image-v1.2.0")];
      if (wrong.length > 0) faults.push(`${told(boundary)}: ${wrong.join()}`);
    }
    assert.deepEqual(faults, []);
  });
});
