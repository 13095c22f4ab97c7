import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import type { WebFile } from "../../../../lab/proxmox/data-centre.ts";
import { addTemplate, labImage, seedVm } from "../../../../lab/proxmox/site.ts";
import type { Bench } from "../bench.ts";
import type { Hooks } from "./player.ts";

const root = "root@pam!lab";
const replace = "eg@pve!replace";
const bake = "eg@pve!bake";

const noble: WebFile = {
  size: 196_640,
  mimetype: "application/octet-stream",
  sha256: "08587a3503226a49b8739afba6a79783190995c042d6f0c330a988bd44ec0d49",
  virtualSize: 2 * 1024 ** 3,
};

const tiny: WebFile = {
  ...noble,
  size: 17_707_520,
  sha256: "803a322b03ef5187c72442b3dcad36c1857549f9ded222106cc16a835dd32aaf",
};

/** The little web server of the recordings. */
function web(url: string): WebFile | string | undefined {
  const { port, pathname } = new URL(url);
  const files: Record<string, WebFile> = {
    "/noble.img": noble,
    "/tiny.qcow2": tiny,
    "/x.iso": { size: 3, mimetype: "application/x-iso9660-image", sha256: "none" },
  };
  return port === "1" ? undefined : (files[pathname] ?? "404 File not found");
}

function setLock(bench: Bench, vmid: number, lock: string | undefined): void {
  const config = bench.dc.vms.get(vmid)?.config;
  if (lock === undefined) config?.delete("lock");
  else config?.set("lock", lock);
}

function moveVm(bench: Bench, vmid: number, node: string): void {
  const vm = bench.dc.vms.get(vmid);
  if (vm) vm.node = node;
}

/** "parallel linked clones x6", "full x6" and "same newid race x3". */
async function cloneInParallel(bench: Bench): Promise<void> {
  const clone = (newid: number, full: number) =>
    bench.task("POST", "nodes/pve1/qemu/9000/clone", { newid, full, name: `c${newid}` });
  const six = (first: number, full: number) =>
    Promise.all(Array.from({ length: 6 }, (_, index) => clone(first + index, full)));
  assert.deepEqual(new Set(await six(300, 0)), new Set(["OK"]));
  assert.deepEqual(new Set(await six(320, 1)), new Set(["OK"]));
  // All three were answered before the first began.
  bench.dc.timing.fork = 1000;
  const race = await Promise.all([clone(350, 1), clone(350, 1), clone(350, 1)]);
  bench.dc.timing.fork = 1;
  const lost = "can't lock file '/var/lock/qemu-server/lock-350.conf' - got timeout";
  assert.deepEqual(race.sort(), ["OK", lost, lost]);
}

const permissions = "4-remote-permissions-parallel-destroy";

/** What was done beside the API, or by endpoints that are not emulated, in the files 0 to 4, which are one session. */
export const sessionHooks: Hooks = {
  // "locks: set lock=clone on 102 via config file", and taken off again before "resize".
  "2-locks-resize-config-auth/4": (bench) => setLock(bench, 102, "clone"),
  "2-locks-resize-config-auth/13": (bench) => setLock(bench, 102, undefined),
  // "remote node", "vm conf moved to node pve2"; moved back before "permissions".
  [`${permissions}/1`]: (bench) => bench.dc.addNode("pve2", { reachable: false }),
  [`${permissions}/3`]: (bench) => moveVm(bench, 102, "pve2"),
  [`${permissions}/7`]: (bench) => {
    moveVm(bench, 102, "pve1");
    bench.dc.nodes.delete("pve2");
  },
  [`${permissions}/10`]: (bench) => bench.dc.addToken("ci@pve!t1"),
  [`${permissions}/28`]: (bench) =>
    bench.dc.grant("ci@pve!t1", "/vms", ["VM.Clone", "VM.Allocate", "VM.Audit", "VM.Config.Options"]),
  [`${permissions}/36`]: cloneInParallel,
};

export function sessionSite(bench: Bench): void {
  bench.dc.web = web;
  bench.dc.addNode("pve1");
  bench.dc.addStorage("local");
  bench.dc.addToken(root, { root: true });
}

/** A VM "prot" that an earlier recording left in the node pool. */
const withLeftover = new Set(["create-taken-vmid", "destroy-deaf-guest", "iso", "no-cdrom-root", "protected-running"]);

/** The site of the files 5 and 6. */
export async function providerSite(bench: Bench, file: string): Promise<void> {
  const { dc } = bench;
  dc.web = web;
  dc.addNode("pve1");
  dc.addStorage("local");
  for (const pool of ["nodes", "other", "templates"]) dc.addPool(pool);
  dc.addToken(root, { root: true });
  dc.addToken(replace);
  dc.addToken(bake);
  grantReplace(bench, nodePrivileges);
  const image = labImage("1.0.0", "v1.34.4+rke2r1");
  const template = await addTemplate(dc, {
    vmid: 9000,
    name: "tmpl",
    pool: "templates",
    image,
    memoryMiB: 256,
    diskGiB: 1,
  });
  template.config.set("kvm", 0).set("cpu", "qemu64");
  const osRelease = 'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="24.04"\n';
  for (const volume of dc.storages.get("local")?.volumes.values() ?? []) {
    volume.files.set("/etc/os-release", Buffer.from(osRelease));
  }
  if (withLeftover.has(file)) {
    seedVm(dc, { vmid: 125, name: "prot", pool: "nodes", tags: ["blue", "evergreen"], config: { protection: 1 } });
  }
}

const nodePrivileges = (
  "VM.Allocate VM.Audit VM.PowerMgmt VM.Config.CPU VM.Config.Memory VM.Config.Network VM.Config.Options VM.Config.Disk " +
  "VM.Config.Cloudinit VM.Monitor VM.Config.CDROM VM.Config.HWType Pool.Audit"
).split(" ");

/** Gives the provider's token a role on the node pool, and what it needs elsewhere. */
export function grantReplace(bench: Bench, onNodes: readonly string[], onStorage: readonly string[] = []): void {
  const { dc } = bench;
  dc.grant(replace, "/pool/templates", ["VM.Clone", "VM.Audit"]);
  dc.grant(replace, "/pool/nodes", onNodes);
  dc.grant(replace, "/storage/local", ["Datastore.AllocateSpace", ...onStorage]);
  dc.grant(replace, "/sdn/zones/localnetwork/vmbr0", ["SDN.Use"]);
}

function grantBake(bench: Bench, onStorage: readonly string[]): void {
  bench.dc.grant(bake, "/storage/local", onStorage);
  bench.dc.grant(bake, "/nodes/pve1", ["Sys.AccessNetwork"]);
}

/** Of the "boot-order" recording only the exchanges of interest are kept: these VMs are there. */
async function makeNodes(bench: Bench): Promise<void> {
  for (let vmid = 181; vmid <= 186; vmid += 1) {
    if (bench.dc.vms.has(vmid)) await bench.task("DELETE", `nodes/pve1/qemu/${vmid}`);
    await bench.task("POST", "nodes/pve1/qemu/9000/clone", { newid: vmid, full: 0, pool: "nodes", name: `b${vmid}` });
    await bench.data("PUT", `nodes/pve1/qemu/${vmid}/config`, { delete: "ide2" });
  }
}

function bridges(bench: Bench, names: string[]): void {
  const node = bench.dc.nodes.get("pve1");
  if (node) node.bridges = names;
}

export const providerHooks: Hooks = {
  "boot-order/1": makeNodes,
  "boot-order/13": makeNodes,
  "boot-order/27": makeNodes,
  "download/1": (bench) => grantBake(bench, ["Datastore.AllocateTemplate"]),
  "download/10": (bench) => grantBake(bench, ["Datastore.AllocateTemplate", "Datastore.Audit"]),
  "download/48": (bench) => grantBake(bench, ["Datastore.AllocateTemplate", "Datastore.Audit", "Datastore.Allocate"]),
  "iso/4": (bench) => grantReplace(bench, nodePrivileges, ["Datastore.AllocateTemplate"]),
  "iso/43": (bench) => grantReplace(bench, nodePrivileges, ["Datastore.Allocate"]),
  // The VM is back up after the reboot.
  "agent-success/58": async (bench) => {
    while (!bench.dc.vms.get(130)?.power) await delay(10);
  },
  "start-fails/1": (bench) => bridges(bench, []),
};

/** Notes that say which role the node pool's token has from here on. */
export function followNote(bench: Bench, note: string | undefined): void {
  const privileges = /role on the node pool: (.*)$/.exec(note ?? "")?.[1];
  if (privileges !== undefined) grantReplace(bench, privileges.split(" "));
}
