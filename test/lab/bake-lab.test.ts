import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { type Lab, startLab, stopLab } from "../../lab/lab.ts";
import { site } from "../../lab/proxmox/site.ts";
import type { LabOptions } from "../../lab/site.ts";
import { commandOf, filesOf, resultOf, type Kind, type StageResult } from "../../src/domain/images/stages.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import { bakeMac, labBake, seedOf } from "./support/bake-site.ts";
import { Operator } from "./support/operator.ts";
import { labOptions } from "./support/start.ts";

describe("a lab in which an image is baked", function () {
  this.timeout(180_000);
  let options: LabOptions;
  let lab: Lab;
  let operator: Operator;
  let baker: Operator;
  const bake = labBake();

  before(async () => {
    options = await labOptions("127.103");
    lab = await startLab(options);
    operator = new Operator(lab);
    const { EVERGREEN_BAKE_API_TOKEN: token = "", ...env } = lab.env;
    baker = new Operator({ env: { ...env, PROXMOX_VE_API_TOKEN: token } });
  });

  after(async () => {
    await operator.close();
    await baker.close();
    await stopLab(options.directory);
    await rm(dirname(options.directory), { recursive: true });
  });

  async function begin(vmid: number): Promise<void> {
    const { url, sha256 } = bake.definition.base;
    const check = { "checksum-algorithm": "sha256", checksum: sha256 };
    const file = { content: "import", filename: "base.qcow2", url, ...check };
    await baker.pve("POST", `nodes/pve1/storage/${site.imageStorage}/download-url`, file);
    const seed = seedOf(bake);
    const digest = createHash("sha256").update(seed).digest("hex");
    const fields = { content: "iso", "checksum-algorithm": "sha256", checksum: digest };
    await baker.upload(site.imageStorage, fields, `bake-${vmid}.iso`, seed);
    await baker.pve("POST", "nodes/pve1/qemu", {
      ...{ vmid: String(vmid), name: `bake-${vmid}`, pool: site.templates, agent: "enabled=1", memory: "4096" },
      ...{ scsi0: `${site.storage}:0,import-from=${site.imageStorage}:import/base.qcow2`, boot: "order=scsi0" },
      ...{ ide2: `${site.imageStorage}:iso/bake-${vmid}.iso,media=cdrom`, net0: `virtio=${bakeMac},bridge=vmbr0` },
    });
    await baker.pve("POST", `nodes/pve1/qemu/${vmid}/status/start`);
  }

  async function awaitResult(vmid: number, kind: Kind): Promise<StageResult> {
    return await new Deadline(`the ${kind} of ${vmid}`, 60).poll(50, () =>
      baker.readFile(vmid, filesOf(kind).result).then(resultOf, () => undefined),
    );
  }

  it("lets a stage fail when it is told to, and no other", async () => {
    const { said } = await lab.call("POST /faults", {
      kind: "bake",
      fault: "fails",
      stage: "units",
      output: ["no units"],
    });
    assert.equal(said, "guests of bakes: fails in units");
    await begin(9501);
    assert.ok((await lab.status).boundaries.changes > 0, "requests of the token of bakes can be held");
    const failed = await awaitResult(9501, "bake");
    assert.deepEqual(failed.status === "failed" && [failed.stage, failed.output], ["units", ["no units"]]);
    await lab.call("DELETE /faults", undefined);
    await baker.pve("POST", "nodes/pve1/qemu/9501/status/stop");
    await baker.pve("DELETE", "nodes/pve1/qemu/9501");
  });

  it("refuses a CD, has no room for it, and fails to convert, on order", async () => {
    const seed = seedOf(bake);
    const upload = () => baker.upload(site.imageStorage, { content: "iso" }, "refused.iso", seed);
    const match = "POST nodes/.*/upload";
    await lab.call("POST /faults", { kind: "answer", match, nth: 1, status: 503, reason: "Service Unavailable" });
    await assert.rejects(upload(), /503/);
    await lab.call("POST /faults", { kind: "full-storage", storage: site.imageStorage });
    await assert.rejects(upload(), /import failed/);
    await lab.call("DELETE /faults", undefined);
    const vm = { vmid: "9503", name: "to-convert", pool: site.templates, scsi0: `${site.storage}:1` };
    await baker.pve("POST", "nodes/pve1/qemu", vm);
    await lab.call("POST /faults", { kind: "fail-task", type: "qmtemplate", nth: 1, text: "no room for a base image" });
    await assert.rejects(baker.pve("POST", "nodes/pve1/qemu/9503/template"), /no room for a base image/);
    await lab.call("DELETE /faults", undefined);
    assert.equal((await lab.status).vms.find(({ vmid }) => vmid === 9503)?.template, false);
    await baker.pve("DELETE", "nodes/pve1/qemu/9503");
  });

  it("makes a template whose clones join as nodes, with what the definition says", async () => {
    await begin(9502);
    assert.deepEqual(await awaitResult(9502, "bake"), { status: "ok" });
    await baker.pve("POST", "nodes/pve1/qemu/9502/agent/exec", { command: [...commandOf("seal")] });
    assert.deepEqual(await awaitResult(9502, "seal"), { status: "ok" });
    await baker.pve("POST", "nodes/pve1/qemu/9502/status/shutdown", { timeout: "60" });
    await baker.pve("PUT", "nodes/pve1/qemu/9502/config", { delete: "ide2" });
    await baker.pve("POST", "nodes/pve1/qemu/9502/template");
    const order = { vmid: 1000, pool: "servers", slot: 0, template: 9502 } as const;
    const name = await operator.createVm(order);
    await operator.foundCluster(order);
    const { body } = await operator.kube.call<{ status: { nodeInfo: Record<string, string> } }>(
      "GET",
      `/api/v1/nodes/${name}`,
    );
    const { kubeletVersion, osImage, kernelVersion } = body.status.nodeInfo;
    const described = JSON.parse(await operator.readFile(1000, "/etc/evergreen/image.json")) as Record<string, string>;
    assert.equal(kubeletVersion, bake.definition.rke2.version);
    assert.equal(osImage, "Ubuntu 24.04.3 LTS");
    assert.equal(kernelVersion, described.kernel);
    const { vms, violations } = await lab.status;
    assert.deepEqual(violations, []);
    const images = vms.map(({ vmid, image }) => [vmid, image] as const);
    assert.deepEqual(
      images.filter(([vmid]) => vmid === 1000 || vmid === 9502),
      [
        [1000, "lab-image-v1.2.0"],
        [9502, "lab-image-v1.2.0"],
      ],
    );
  });
});
