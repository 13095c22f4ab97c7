import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { beginInstance, newestKernel, startSystem } from "../../lab/guest/base-image.ts";
import { GuestFiles } from "../../lab/guest/files.ts";
import { packageAt } from "../../lab/guest/packages.ts";
import { runProgram } from "../../lab/guest/shell.ts";
import { site } from "../../lab/proxmox/site.ts";
import { containerImages } from "../../lab/web.ts";
import { at, findingsOf, scriptOf, type Check, type Moment } from "../../src/domain/images/hygiene.ts";
import { checksOf } from "../../src/domain/images/hygiene-checks.ts";
import { contentsOf, MEASURE } from "../../src/domain/images/measurement.ts";
import { filesOf, STAGES } from "../../src/domain/images/stages.ts";
import { BakeLab, labBake } from "./support/bake-site.ts";

const names = (kind: "bake" | "seal") => [...STAGES[kind].map(({ name }) => name), "finished"];

for (const [index, version] of (["8.4", "9.2"] as const).entries()) {
  describe(`a bake by bare requests, ${version}`, function () {
    this.timeout(60_000);
    let lab: BakeLab;
    const bake = labBake();

    before(async () => (lab = await BakeLab.start(28_400 + index, version)));
    after(async () => lab.stop());

    it("plays all stages, seals, and becomes a template whose clones are other machines with the same content", async () => {
      await lab.begin(9100, bake);
      assert.deepEqual(await lab.result(9100, "bake"), { status: "ok" });
      assert.deepEqual(await lab.stages(9100, "bake"), names("bake"));
      assert.match((await lab.read(9100, filesOf("bake").log)) ?? "", /^== quiet\n[^]*^== describe$/m);
      assert.deepEqual(await lab.seal(9100), { status: "ok" });
      assert.deepEqual(await lab.stages(9100, "seal"), names("seal"));
      assert.equal(await lab.read(9100, "/etc/machine-id"), "");
      const record = await lab.record(9100);
      const contents = contentsOf(record);
      assert.deepEqual(
        contents.packages.find(({ name }) => name === "htop"),
        packageAt("htop", bake.definition.archiveDate),
      );
      assert.deepEqual(
        contents.images.map(({ reference }) => reference),
        containerImages(bake.definition.rke2.version, "core"),
      );
      assert.ok(contents.files.some(({ path }) => path === "/usr/local/bin/rke2"));
      await lab.convert(9100);

      const uuids = [await lab.clone(9100, 9101), await lab.clone(9100, 9102)];
      assert.notEqual(uuids[0], uuids[1]);
      for (const [at, vmid] of [9101, 9102].entries()) {
        assert.equal(
          (await lab.exec(vmid, ["cat", "/etc/machine-id"], undefined)).out.trim(),
          uuids[at]?.replaceAll("-", ""),
        );
        assert.equal(await lab.read(vmid, "/etc/hostname"), `clone-${vmid}\n`);
        const described = JSON.parse((await lab.read(vmid, "/etc/evergreen/image.json")) ?? "") as Record<
          string,
          string
        >;
        assert.deepEqual([described.image, described.rke2], ["lab-image-v1.2.0", bake.definition.rke2.version]);
        assert.equal((await lab.exec(vmid, ["uname", "-r"], undefined)).out.trim(), described.kernel);
        assert.match((await lab.read(vmid, "/etc/os-release")) ?? "", /^ID=ubuntu$/m);
        const measured = JSON.parse((await lab.exec(vmid, [MEASURE, "/run/again"], undefined)).out) as Record<
          string,
          string
        >;
        const digests = [record.packages, record.files].map((text) => createHash("sha256").update(text).digest("hex"));
        assert.deepEqual([measured.packages, measured.files], digests);
        assert.equal(await lab.read(vmid, filesOf("bake").progress), undefined, "nothing of the bake is on the disk");
      }
      const machine = lab.bench.dc.vms.get(9101);
      assert.ok(machine);
      assert.equal(lab.bench.dc.imageOf(machine)?.rke2, bake.definition.rke2.version);
    });

    it("passes every check of an image, sealed and as a clone at its first and second boot", async () => {
      await lab.begin(9130, bake);
      await lab.result(9130, "bake");
      await lab.seal(9130);
      assert.deepEqual(await findings(lab, 9130, "sealed"), []);
      await lab.convert(9130);
      const uuid = await lab.clone(9130, 9131);
      assert.deepEqual(await findings(lab, 9131, "clone", uuid), []);
      await lab.task("POST", "nodes/pve1/qemu/9131/status/reboot", { timeout: 60 });
      await lab.until("the second boot", async () =>
        (await lab.read(9131, "/run/cloud-init/status.json")) === undefined ? undefined : true,
      );
      assert.deepEqual(await findings(lab, 9131, "clone", uuid), []);
    });

    it("shows each planted defect to the check that is to find it, and to no other", async () => {
      await lab.begin(9140, bake);
      await lab.result(9140, "bake");
      await lab.seal(9140);
      const disk = diskOf(lab, 9140);
      await lab.convert(9140);
      const uuid = await lab.clone(9140, 9141);
      const wrong = [
        ...(await Promise.all(at("sealed", checks).map((check) => misses(check, "sealed", disk, uuid)))),
        ...(await Promise.all(at("clone", checks).map((check) => misses(check, "clone", diskOf(lab, 9141), uuid)))),
      ];
      assert.deepEqual(wrong.flat(), []);
    });

    it("leaves the CD and the cloud image to its token to remove, and no VM of the nodes", async () => {
      for (const volume of [`iso/bake-9100.iso`, `import/base-${bake.definition.base.sha256.slice(0, 12)}.qcow2`])
        await lab.task("DELETE", `nodes/pve1/storage/${site.imageStorage}/content/${volume}`);
      const asked = [
        ["POST", "nodes/pve1/qemu", { vmid: 1100, pool: site.nodes }],
        ["DELETE", `nodes/pve1/storage/${site.storage}/content/${site.storage}:9100/base-9100-disk-0.qcow2`, {}],
      ] as const;
      for (const [method, path, params] of asked)
        assert.equal((await lab.bench.call(method, path, params, site.bakeToken)).status, 403, `${method} ${path}`);
    });

    it("has another machine's id in the clones of an image that was never sealed", async () => {
      await lab.begin(9110, labBake());
      assert.deepEqual(await lab.result(9110, "bake"), { status: "ok" });
      assert.deepEqual(await findings(lab, 9110, "sealed"), unsealed);
      await lab.convert(9110);
      const uuid = await lab.clone(9110, 9111);
      assert.deepEqual(await findings(lab, 9111, "clone", uuid), ["machine-id"]);
      assert.notEqual(await lab.read(9111, "/etc/apt/sources.list.d/evergreen-bake.sources"), undefined);
    });

    it("enables every unit of a clone whose machine id says uninitialized, and RKE2 when no preset keeps it off", async () => {
      await lab.begin(9120, bake);
      await lab.result(9120, "bake");
      const write = { file: "/etc/machine-id", content: "uninitialized\n" };
      await lab.bench.data("POST", "nodes/pve1/qemu/9120/agent/file-write", write);
      const preset = "/usr/lib/systemd/system-preset/10-evergreen.preset";
      await lab.bench.data("POST", "nodes/pve1/qemu/9120/agent/file-write", { file: preset, content: "" });
      await lab.convert(9120);
      const uuid = await lab.clone(9120, 9121);
      assert.deepEqual(await findings(lab, 9121, "clone", uuid), ["rke2-disabled", "rke2-inactive", "rke2-preset"]);
    });
  });
}

/** What a bake leaves that nobody has sealed. */
const unsealed = [
  "machine-id-empty",
  "hostname-empty",
  "random-seed",
  "cloud-init-instance",
  "network",
  "journal",
  "bake-leftovers",
  "package-cache",
];

/** Ids of the checks that did not find what they should. */
async function findings(lab: BakeLab, vmid: number, moment: Moment, uuid = ""): Promise<string[]> {
  const asked = at(moment, checks);
  const { out } = await lab.exec(vmid, ["/bin/sh", "-s"], scriptOf(asked));
  return findingsOf(asked, out, { uuid }).map(({ id }) => id);
}

const checks = checksOf(labBake().definition);

/** A copy of the disk of a VM. */
function diskOf(lab: BakeLab, vmid: number): Map<string, Buffer> {
  const volumes = [...(lab.bench.dc.storages.get(site.storage)?.volumes.values() ?? [])];
  return new Map(volumes.find((volume) => volume.vmid === vmid)?.files);
}

/** Plants the defect of a check on a disk, and says when other checks find it. */
async function misses(check: Check, moment: Moment, disk: Map<string, Buffer>, uuid: string): Promise<string[]> {
  const files = new GuestFiles(new Map(disk), new Map());
  if (moment === "clone") startSystem(files, { uuid });
  if (moment === "clone") beginInstance(files, "again", "clone", "");
  const host = { files, kernel: newestKernel(files.below("/boot")) ?? "" };
  const planted = await runProgram(host, ["/bin/sh", "-s"], check.mutant.plant);
  if (planted.code !== 0) return [`${check.id}: ${planted.err ?? ""}`];
  const asked = at(moment, checks);
  const { out = "" } = await runProgram(host, ["/bin/sh", "-s"], scriptOf(asked));
  const found = findingsOf(asked, out, { uuid }).map(({ id }) => id);
  return found.join() === check.id ? [] : [`${check.id} at ${moment}: found by ${found.join() || "none"}`];
}
