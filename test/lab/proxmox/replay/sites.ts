import type { WebFile } from "../../../../lab/proxmox/data-centre.ts";
import type { SeedVm } from "../../../../lab/proxmox/site.ts";
import { addTemplate, labImage, seedVm } from "../../../../lab/proxmox/site.ts";
import { storageOf } from "../../../../lab/proxmox/storages.ts";
import { placeVolume } from "../../../../lab/proxmox/volumes.ts";
import type { Vm } from "../../../../lab/proxmox/model.ts";
import type { Bench } from "../bench.ts";
import type { Hooks } from "./player.ts";

const config = ["CPU", "Memory", "Network", "Options", "Disk", "Cloudinit", "CDROM", "HWType"];
const node = ["VM.Allocate", "VM.Audit", "VM.PowerMgmt", "VM.Monitor", "Pool.Audit"];
const nodePrivileges = [...node, ...config.map((what) => `VM.Config.${what}`)];

const noble: WebFile = {
  size: 196_640,
  mimetype: "application/octet-stream",
  sha256: "08587a3503226a49b8739afba6a79783190995c042d6f0c330a988bd44ec0d49",
  digests: {
    sha512:
      "c4504e0060e60adc411ac214fa7433a5e8dfc852aa3d552c29b16462bccc3aaa6d8dacf0abe60befccbd0ba2327a34f5e86724f1a635ffceb584c48fe5dadfc5",
    md5: "be2b884e6fdb159111aef5402a8a946e",
  },
  virtualSize: 2 * 1024 ** 3,
};

function web(url: string): WebFile | string | undefined {
  const { port, pathname, protocol } = new URL(url);
  const files: Record<string, WebFile> = {
    "/noble.img": noble,
    "/x.iso": { size: 3, mimetype: "application/x-iso9660-image", sha256: "none" },
    "/": { size: 312, mimetype: "text/html", sha256: "none" },
  };
  return port === "1" || protocol === "https:" ? undefined : (files[pathname] ?? "404 File not found");
}

/** As the recorder made its VMs: small, without an agent, a serial port or an operating system that is named. */
function plain(vm: Vm): Vm {
  for (const key of ["agent", "serial0", "ostype"]) vm.config.delete(key);
  vm.config.set("kvm", 0).set("cpu", "qemu64");
  return vm;
}

const small = { memoryMiB: 128, diskGiB: 1, image: labImage("1.0.0", "v1.34.4+rke2r1") };

function place(bench: Bench, names: string[]): void {
  for (const name of names) {
    const [content = "", file = ""] = name.split("/");
    placeVolume(storageOf(bench.dc, "local"), {
      volid: `local:${name}`,
      content: content === "iso" ? "iso" : "import",
      format: content === "iso" ? "iso" : (file.split(".").pop() ?? ""),
      size: 3,
    });
  }
}

/** Rights of others, and tasks: four VMs in three pools and in none, three tokens. */
async function rightsSite(bench: Bench): Promise<void> {
  const { dc } = bench;
  for (const pool of ["nodesp", "tmplp", "other"]) dc.addPool(pool);
  const seed = (vmid: number, name: string, pool?: string): SeedVm => ({ ...small, vmid, name, ...(pool && { pool }) });
  const template = await addTemplate(dc, { ...small, ...seed(7300, "tmpl", "tmplp") });
  plain(template);
  for (const [vmid, name, pool] of [
    [7301, "mine", "nodesp"],
    [7302, "foreign", "other"],
    [7303, "loose", undefined],
  ] as const)
    plain(seedVm(dc, seed(vmid, name, pool)));
  place(bench, ["import/noble.qcow2", "import/u.qcow2", "iso/b.iso", "iso/noble.img", "iso/u.iso", "iso/x.iso"]);
  dc.addToken("ev@pve!roll");
  dc.grant("ev@pve!roll", "/pool/nodesp", nodePrivileges);
  dc.grant("ev@pve!roll", "/pool/tmplp", ["VM.Clone", "VM.Audit"]);
  dc.grant("ev@pve!roll", "/storage/local", ["Datastore.AllocateSpace"]);
  dc.grant("ev@pve!roll", "/sdn/zones/localnetwork/vmbr0", ["SDN.Use"]);
  dc.addToken("evr@pve!ro");
  dc.grant("evr@pve!ro", "/pool/nodesp", ["VM.Audit", "VM.Monitor", "Pool.Audit"]);
  dc.grant("evr@pve!ro", "/pool/tmplp", ["VM.Audit"]);
  dc.grant("evr@pve!ro", "/storage/local", ["Datastore.Audit"]);
  dc.addToken("none@pve!tk");
}

/** Volumes of a VM on each kind of storage, and tokens that may allocate, audit or only look. */
function volumesSite(bench: Bench): void {
  const { dc } = bench;
  dc.addStorage("thin", { type: "lvmthin" });
  dc.addStorage("ceph", { type: "rbd" });
  dc.addStorage("zfs", { type: "zfspool" });
  dc.addPool("np7");
  plain(seedVm(dc, { ...small, vmid: 7601, name: "v", pool: "np7" }));
  const storages = ["local", "thin", "ceph", "zfs"];
  for (const [token, onStorage, where] of [
    ["t7@pve!alloc", ["Datastore.AllocateSpace"], storages],
    ["t7a@pve!audit", ["Datastore.AllocateSpace", "Datastore.Audit"], storages],
    ["t7r@pve!ro", ["Datastore.Audit"], ["local", "thin"]],
  ] as const) {
    dc.addToken(token);
    dc.grant(token, "/pool/np7", token === "t7r@pve!ro" ? ["VM.Audit", "Pool.Audit"] : nodePrivileges);
    for (const storage of where) dc.grant(token, `/storage/${storage}`, onStorage);
  }
}

/** The site of a recording that begins with 7, 8 or 9. */
export async function siteOf(bench: Bench, file: string): Promise<void> {
  const { dc } = bench;
  dc.web = web;
  dc.addNode("pve1");
  dc.addStorage("local");
  dc.addStorage("dir2", { path: "/var/lib/dir2", content: ["images"] });
  dc.addToken("root@pam!lab", { root: true });
  if (file.startsWith("7-")) await rightsSite(bench);
  else if (file.startsWith("9-")) volumesSite(bench);
  else place(bench, ["iso/b.iso", "iso/noble.img"]);
}

/** Starts a VM without a trace in the list of tasks. */
async function startUnseen(bench: Bench, vmid: number): Promise<void> {
  const upid = await bench.data<string>("POST", `nodes/pve1/qemu/${vmid}/status/start`);
  await bench.ended(upid);
  bench.dc.tasks.all.delete(upid);
}

export const siteHooks: Hooks = {
  // A VM of the token's whose guest hears nothing; the shutdown of the token waits longer than the requests take.
  "7-permissions-tasks/181": async (bench) => {
    plain(seedVm(bench.dc, { ...small, vmid: 7309, name: "deaf", pool: "nodesp" }));
    await startUnseen(bench, 7309);
    bench.dc.timing.second = 1000;
  },
  // The recorder started the VM again.
  "7-permissions-tasks/201": async (bench) => {
    await startUnseen(bench, 7309);
    bench.dc.timing.second = 40;
  },
};
