import assert from "node:assert/strict";
import { labImage, seedSite, seedVm, site } from "../../../lab/proxmox/site.ts";
import { Bench } from "./bench.ts";

const token = "t@pve!answers";
const drives =
  "ide0, ide1, ide2, ide3, " +
  [...Array(31).keys()].map((index) => `scsi${index}, `).join("") +
  [...Array(16).keys()].map((index) => `virtio${index}, `).join("") +
  "sata0, sata1, sata2, sata3, sata4, sata5, efidisk0, tpmstate0";
const noDrive = (name: string) => `400 disk: value '${name}' does not have a value in the enumeration '${drives}'`;
const vm = "nodes/pve1/qemu/1100";

type Exchange = [method: string, path: string, params: Record<string, string | number>, answer: string, as?: string];

/** Single requests and what is said of them: the reason, what is wrong with a parameter, or how the task ended. */
const exchanges: Exchange[] = [
  ["PUT", `${vm}/resize`, { disk: "ide2", size: "+1G" }, "you can't resize a cdrom"],
  [
    "PUT",
    `${vm}/resize`,
    { disk: "scsi0", size: "+1G", digest: "00" },
    "checksum mismatch (file change by other user?)",
  ],
  ["PUT", `${vm}/resize`, { disk: "foo", size: "+1G" }, noDrive("foo")],
  ["PUT", `${vm}/resize`, { disk: "net0", size: "+1G" }, noDrive("net0")],
  ["PUT", `${vm}/resize`, { disk: "scsi9", size: "+1G" }, "disk 'scsi9' does not exist"],
  ["PUT", `${vm}/resize`, { disk: "scsi0", size: "big" }, "400 size: value does not match the regex pattern"],
  ["PUT", `${vm}/resize`, { disk: "scsi0", size: "+1G", skiplock: 1 }, "400 skiplock: Only root may use this option."],
  ["GET", "access/permissions", { userid: "o@pve" }, "403 Permission check failed (/access, Sys.Audit)", token],
  ["GET", "nodes/localhost/qemu/1100/status/current", {}, "200 OK"],
  ["GET", "nodes/PVE1/qemu/1100/status/current", {}, "596 tls_process_server_certificate: certificate verify failed"],
  [
    "PUT",
    `${vm}/config`,
    { scsi2: "absent:1" },
    "403 Permission check failed (/storage/absent, Datastore.AllocateSpace)",
    token,
  ],
  ["GET", "nodes/pve1/qemu/abc/config", {}, "400 vmid: type check ('integer') failed - got 'abc'"],
  ["DELETE", "pools", { poolid: "absent" }, "500 delete pool failed: pool 'absent' does not exist"],
  ["DELETE", "pools/absent", {}, "500 delete pool failed: pool 'absent' does not exist"],
  ["PUT", `${vm}/config`, { serial0: "/dev/ttyS0" }, "500 only root can modify 'serial0' config for real devices"],
  ["PUT", `${vm}/config`, { delete: "serial1" }, "500 only root can delete 'serial1' config for real devices"],
];

describe("single answers of the API", () => {
  let bench: Bench;

  before(async () => {
    bench = await Bench.start(28_194);
    await seedSite(bench.dc);
    const config = { serial1: "/dev/ttyS1" };
    seedVm(bench.dc, { vmid: 1100, name: "n", pool: site.nodes, image: labImage("1.0.0", "v1"), config });
    bench.dc.addToken(token);
    bench.dc.grant(token, "/vms/1100", ["VM.Audit", "VM.Config.Disk"]);
    await bench.task("POST", `${vm}/status/start`);
  });

  after(async () => bench.stop());

  for (const [method, path, params, answer, as] of exchanges) {
    it(`are told ${method} ${path} with ${JSON.stringify(params)}`, async () => {
      const { status, reason, body } = await bench.call(method, path, params, as);
      const [error] = Object.entries(body?.errors ?? {});
      const upid = String(body?.data);
      const said = upid.startsWith("UPID:")
        ? await bench.ended(upid)
        : `${status} ${error ? error.join(": ") : reason}`;
      assert.equal(said, answer);
    });
  }

  it("show a pool's rights on a member as not handed down", async () => {
    bench.dc.grant(token, `/pool/${site.nodes}`, ["VM.PowerMgmt", "VM.Audit"]);
    const rights = await bench.data<Record<string, unknown>>("GET", "access/permissions", { path: "/vms/1100" }, token);
    assert.deepEqual(rights["/vms/1100"], { "VM.Audit": 1, "VM.Config.Disk": 1, "VM.PowerMgmt": 0 });
  });

  const contents: [what: string, content: string, answer: string, written: string][] = [
    ["with line breaks", "YW\nJj", "200 OK", "abc"],
    ["without its padding", "YWI", "200 OK", ""],
    ["of other letters", "YW*j", "500 Agent error: Base64 data contains invalid characters", ""],
  ];
  for (const [what, content, answer, written] of contents) {
    it(`write what base64 ${what} says`, async () => {
      const file = { file: "/tmp/written" };
      await bench.data("POST", `${vm}/agent/file-write`, { ...file, content: "old" });
      const { status, reason } = await bench.call("POST", `${vm}/agent/file-write`, { ...file, content, encode: 0 });
      assert.equal(`${status} ${reason}`, answer);
      const read = await bench.data<{ content: string }>("GET", `${vm}/agent/file-read`, file);
      assert.equal(read.content, written);
    });
  }
});
