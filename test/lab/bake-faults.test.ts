import assert from "node:assert/strict";
import { site } from "../../lab/proxmox/site.ts";
import type { BakeFault } from "../../lab/types.ts";
import { filesOf, STAGES, type StageResult } from "../../src/domain/images/stages.ts";
import { artefact, BakeLab, bakeWithAgent, labBake, seedOf } from "./support/bake-site.ts";

/** A stage that failed. */
function failureOf(result: StageResult): Extract<StageResult, { status: "failed" }> {
  assert.ok(result.status === "failed", "a stage has failed");
  return result;
}

describe("a guest of a bake", function () {
  this.timeout(60_000);
  let lab: BakeLab;
  let vmid = 9200;

  before(async () => (lab = await BakeLab.start(28_402)));
  beforeEach(() => {
    lab.rack.bakeFaults = [];
    vmid += 1;
  });
  after(async () => lab.stop());

  const begin = async (faults: BakeFault[], bake = labBake(), seed = seedOf(bake)) => {
    lab.rack.bakeFaults = faults;
    await lab.begin(vmid, bake, seed);
  };

  for (const { name } of [...STAGES.bake, ...STAGES.seal])
    it(`says which command failed in the stage ${name}, and what it wrote`, async () => {
      await begin([{ fault: "fails", stage: name, output: ["one", "two"] }], bakeWithAgent());
      const ended = await lab.result(vmid, "bake");
      const failed = failureOf(ended.status === "ok" ? await lab.seal(vmid) : ended);
      assert.deepEqual(failed, {
        status: "failed",
        stage: name,
        command: "false",
        why: "exit code 1",
        output: ["one", "two"],
      });
    });

  it("gets its agent with its packages: one that fails before turns itself off", async () => {
    await begin([{ fault: "fails", stage: "archive" }]);
    await lab.until("the end", () => Promise.resolve(lab.bench.dc.vms.get(vmid)?.power ? undefined : true));
    assert.equal(await lab.read(vmid, filesOf("bake").result), undefined);
  });

  it("stays on when it fails with an agent, and says so on its console too", async () => {
    await begin([{ fault: "fails", stage: "archive" }], bakeWithAgent());
    const said = await lab.until("the end of the bake", async () => {
      const text = await lab.console(vmid);
      return text.includes("exit code 1") ? text : undefined;
    });
    assert.match(said, /run\.sh bake: exit code 1/);
    assert.equal(failureOf(await lab.result(vmid, "bake")).stage, "archive");
  });

  it("says nothing more when a stage hangs, though its agent answers", async () => {
    await begin([{ fault: "hang", stage: "units" }]);
    await lab.until("the stage", async () => ((await lab.stages(vmid, "bake")).at(-1) === "units" ? true : undefined));
    assert.equal(await lab.read(vmid, filesOf("bake").result), undefined);
    assert.equal((await lab.bench.call("POST", `nodes/pve1/qemu/${vmid}/agent/ping`)).status, 200);
  });

  it("ends a stage by its own deadline", async () => {
    await begin([{ fault: "timeout", stage: "images" }]);
    assert.equal(failureOf(await lab.result(vmid, "bake")).why, "not done after 3600 s");
  });

  it("whose kernel dies stays on, and answers nothing", async () => {
    await begin([{ fault: "dies", stage: "scripts" }]);
    await lab.until("the panic", async () => ((await lab.console(vmid)).includes("Kernel panic") ? true : undefined));
    assert.equal(
      (await lab.bench.call("POST", `nodes/pve1/qemu/${vmid}/agent/ping`)).reason,
      "QEMU guest agent is not running",
    );
    assert.ok(lab.bench.dc.vms.get(vmid)?.power);
  });

  it("is off after a power cut, and does not bake again when it is started", async () => {
    await begin([{ fault: "power-cut", stage: "files" }]);
    await lab.until("the end", () => Promise.resolve(lab.bench.dc.vms.get(vmid)?.power ? undefined : true));
    lab.rack.bakeFaults = [];
    await lab.task("POST", `nodes/pve1/qemu/${vmid}/status/start`);
    await lab.until("the boot", async () => ((await lab.console(vmid)).includes("is known") ? true : undefined));
    assert.equal(await lab.read(vmid, filesOf("bake").progress), undefined);
  });

  it("never answers when its agent never comes", async () => {
    await begin([{ fault: "no-agent" }]);
    await lab.until("the bake", () => lab.consoleRun(vmid, `cat ${filesOf("bake").result}`));
    assert.equal(await lab.read(vmid, filesOf("bake").result), undefined);
  });

  const refusals: [what: string, stage: string, says: RegExp, bake: ReturnType<typeof labBake>, fault?: BakeFault][] = [
    [
      "an artefact that ends early",
      "rke2",
      /is not the one of the definition: SHA-256 [0-9a-f]{64}/,
      labBake(),
      { fault: "cut-artefact" },
    ],
    [
      "an artefact with another digest",
      "rke2",
      /^refuse 'rke2\.linux-amd64\.tar\.gz is not the one of the definition/,
      labBake({
        rke2: {
          version: "v1.34.10+rke2r1",
          cni: [],
          artefacts: [{ file: "rke2.linux-amd64.tar.gz", sha256: "0".repeat(64) }],
        },
      }),
    ],
    [
      "an artefact that the release does not have",
      "rke2",
      /^curl .*rke2-images-core/,
      labBake({
        rke2: { version: "v1.34.99", cni: [], artefacts: [artefact("rke2-images-core.linux-amd64.tar.zst")] },
      }),
    ],
    [
      "an archive of images whose list nobody vouches for",
      "rke2",
      /neither in the definition nor as the release's sums have it/,
      labBake({
        rke2: { version: "v1.34.10+rke2r1", cni: [], artefacts: [artefact("rke2-images-core.linux-amd64.tar.zst")] },
      }),
    ],
    [
      "a package that the archive does not have",
      "packages",
      /^apt-get .*install/,
      bakeWithAgent({ packages: ["no-such-package"] }),
    ],
  ];
  for (const [what, stage, says, bake, fault] of refusals)
    it(`refuses ${what}`, async () => {
      await begin(fault ? [fault] : [], bake);
      // An agent that comes with the packages is not there when they fail: the console tells.
      const failed = await lab.resultAtConsole(vmid, "bake");
      assert.equal(failed.stage, stage);
      assert.match(failed.command, says);
    });

  it("finds no archive of a date that is not kept, or is still to come", async () => {
    for (const [bake, faults] of [
      [bakeWithAgent(), [{ fault: "no-archive" }]],
      [bakeWithAgent({ archiveDate: "29990101T000000Z" }), []],
    ] as [ReturnType<typeof labBake>, BakeFault[]][]) {
      vmid += 1;
      await begin(faults, bake);
      const { stage, why, output } = await lab.resultAtConsole(vmid, "bake");
      assert.deepEqual([stage, why], ["archive", "exit code 100"]);
      assert.match(output.at(-1) ?? "", /does not have a Release file/);
    }
  });

  const seeds: [what: string, says: RegExp, seed: Buffer][] = [
    [
      "user-data without its first line",
      /does not begin with #cloud-config/,
      seedOf(labBake(), { userData: "runcmd: []\n" }),
    ],
    ["a CD that is cut off", /cloud-init: the CD/, seedOf(labBake()).subarray(0, 26 * 2048)],
  ];
  for (const [what, says, seed] of seeds)
    it(`does nothing with ${what}, and its console says why`, async () => {
      await begin([], labBake(), seed);
      const said = await lab.until("the console", async () => (await lab.console(vmid)) || undefined);
      assert.match(said, says);
      assert.equal(await lab.consoleRun(vmid, "test -f /run/evergreen-bake/run.sh"), undefined);
    });

  it("has no network when the seed is for another card", async () => {
    await begin([], bakeWithAgent(), seedOf(bakeWithAgent(), { mac: "bc:24:11:00:00:99" }));
    assert.equal((await lab.resultAtConsole(vmid, "bake")).stage, "archive");
  });

  it("makes the same of the same definition, and other packages of a later date", async () => {
    const measured = async (bake: ReturnType<typeof labBake>) => {
      vmid += 1;
      await begin([], bake);
      assert.deepEqual(await lab.result(vmid, "bake"), { status: "ok" });
      assert.deepEqual(await lab.seal(vmid), { status: "ok" });
      return await lab.record(vmid);
    };
    const [one, same, later] = [
      await measured(labBake()),
      await measured(labBake()),
      await measured(labBake({ archiveDate: "20261101T000000Z" })),
    ];
    assert.deepEqual(one, same);
    assert.notEqual(one.packages, later.packages);
  });
});

describe("a storage of images", function () {
  this.timeout(60_000);
  let lab: BakeLab;

  before(async () => (lab = await BakeLab.start(28_403)));
  after(async () => lab.stop());

  it("that is full takes no cloud image and no CD, and keeps nothing of either", async () => {
    const storage = lab.bench.dc.storages.get(site.imageStorage);
    assert.ok(storage);
    storage.baseUsed = storage.total;
    await assert.rejects(lab.download(labBake()), /download failed: exit code 3/);
    await assert.rejects(lab.upload(9300, seedOf(labBake())), /import failed: exit code 1/);
    assert.equal(storage.volumes.size, 0);
  });
});
