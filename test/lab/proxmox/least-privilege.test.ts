import assert from "node:assert/strict";
import { observeVms } from "../../../src/clients/proxmox/observed-vms.ts";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { messageOf } from "../../../src/runtime/errors.ts";
import type { Config } from "../../../src/config/config.ts";
import type { DataCentre } from "../../../lab/proxmox/data-centre.ts";
import { guest } from "../../../images/contract.ts";
import { findAccess } from "../../../src/clients/kubernetes/access.ts";
import { readPrivileges, rolloutPrivileges, seedSite, seedVm, site, labImage } from "../../../lab/proxmox/site.ts";
import type { StorageKind } from "../../../lab/types.ts";
import { readCandidateHosts } from "../../../src/observe/hosts.ts";
import { awaitAgent, readFile, writeFile } from "../../../src/clients/proxmox/agent.ts";
import type { Parameters, Proxmox } from "../../../src/clients/proxmox/client.ts";
import { destroyVm } from "../../../src/clients/proxmox/destroy.ts";
import {
  neededRights,
  findPermissionProblems,
  type Need,
  type Purpose,
} from "../../../src/clients/proxmox/permissions.ts";
import { start, turnOff } from "../../../src/clients/proxmox/power.ts";
import { writeStanding } from "../../../src/clients/proxmox/settle.ts";
import { tagsOf } from "../../../src/clients/proxmox/tags.ts";
import { awaitTask } from "../../../src/clients/proxmox/task.ts";
import { isRunning, listVms, readVm, requireSight, findTaken } from "../../../src/clients/proxmox/vms.ts";
import { smallConfig } from "../../support/picture.ts";
import { Bench } from "./bench.ts";

const image = labImage("1.0.0", "v1.34.4+rke2r1");
const tags = (pool: string, slot: number) => tagsOf({ cluster: "demo", pool, slot, generation: "0a1b2c3d" });
const where = {
  proxmoxPool: site.nodes,
  templatePool: site.templates,
  storage: site.storage,
  bridge: site.bridge,
};
const { site: defaults, ...others } = smallConfig();
const config: Config = { ...others, site: { ...defaults, ...where } };
const server = 1000;

const pem = Buffer.from("a PEM").toString("base64");
const kubeconfig = JSON.stringify({
  "current-context": "default",
  contexts: [{ name: "default", context: { cluster: "default", user: "default" } }],
  clusters: [{ name: "default", cluster: { server: "https://127.0.0.1:6443", "certificate-authority-data": pem } }],
  users: [{ name: "default", user: { "client-certificate-data": pem, "client-key-data": pem } }],
});

/** What the provider sends after the clone, for the inputs of components/vm.ts. */
function providerConfig(): Parameters {
  return {
    agent: "enabled=1,fstrim_cloned_disks=0,type=virtio",
    balloon: 0,
    boot: "order=scsi0;ide3",
    cores: 2,
    cpu: "x86-64-v2-AES",
    delete: Array.from({ length: 31 }, (_, index) => `net${index + 1}`).join(","),
    ide2: "file=local:cloudinit,",
    ide3: "file=none,media=cdrom,",
    ipconfig0: "gw=127.0.0.1,ip=127.0.0.101/8",
    memory: 4096,
    nameserver: "127.0.0.1",
    net0: `model=virtio,bridge=${site.bridge},firewall=0`,
    numa: 0,
    onboot: 0,
    ostype: "l26",
    scsihw: "virtio-scsi-single",
    sockets: 1,
    tags: tags("workers", 0).join(";"),
  };
}

/** What the provider does with every disk whose volume id has no extension: it reads the size of the volume. */
async function readDisks(pve: Proxmox, vmid: number): Promise<void> {
  const config = (await pve.get(`/nodes/${site.node}/qemu/${vmid}/config`)) as { scsi0: string };
  const volid = config.scsi0.split(",")[0] ?? "";
  if (volid.endsWith(".qcow2")) return;
  await pve.get(`/nodes/${site.node}/storage/${site.storage}/content/${encodeURIComponent(volid)}`);
}

/** Clone and configuration, by the requests of the provider as recorded. */
async function made(pve: Proxmox, vmid: number, name: string): Promise<void> {
  const path = `/nodes/${site.node}/qemu/${vmid}`;
  const template = (await listVms(pve)).find((vm) => vm.template && vm.name === image.name && vm.host === site.node);
  if (!template) throw new Error("no template is listed");
  const clone = { newid: vmid, full: false, name, pool: site.nodes };
  const upid = await pve.post(`/nodes/${site.node}/qemu/${template.vmid}/clone`, clone);
  await awaitTask(pve, upid, new Deadline("the clone", 60));
  await isRunning(pve, { host: site.node, vmid });
  await pve.put(`${path}/config`, { delete: "ide2" });
  await pve.put(`${path}/config`, providerConfig());
  await readDisks(pve, vmid);
  await awaitTask(pve, await pve.put(`${path}/resize`, { disk: "scsi0", size: "20G" }), new Deadline("the resize", 60));
  // What reads a pool as empty writes it again with the next update.
  const pools = (await pve.get("/pools")) as { poolid: string }[];
  if (!pools.some(({ poolid }) => poolid === site.nodes)) await pve.put("/pools", { poolid: site.nodes, vms: vmid });
  await pve.get("/pools", { poolid: site.nodes });
}

/** The whole life of a node VM, as provider and steps lead it. Ends at the first refusal. */
async function life(pve: Proxmox, vmid: number): Promise<void> {
  const name = `demo-workers-0-${vmid}`;
  await made(pve, vmid, name);
  const config = await readVm(pve, { host: site.node, vmid });
  const { uuid } = config;
  const vm = { vmid, host: site.node, name, uuid, tags: [] };
  await writeStanding(pve, config, vm, { onBoot: true, hasMemberTag: true }, new Deadline("the write", 10));
  await start(pve, vm);
  await awaitAgent(new Deadline("the agent", 60), () => writeFile(pve, vm, "/etc/evergreen/join", "secret"));
  assert.equal(String(await readFile(pve, vm, "/etc/evergreen/join")), "secret");
  await turnOff(pve, vm, 10);
  await destroyVm(pve, vm.host, { vmid, name, uuid, tags: [] });
}

/** All that a preview and `evergreen status` ask Proxmox. */
async function look(pve: Proxmox): Promise<void> {
  await requireSight(pve, site.nodes);
  const list = await listVms(pve);
  if (!list.some((vm) => vm.template && vm.name === image.name)) throw new Error("no template is listed");
  assert.equal((await observeVms(pve, "demo", list)).find(({ vmid }) => vmid === server)?.running, true);
  const access = await findAccess(pve, list, { cluster: "demo", serverPool: "servers", ...config.site });
  if (!access) throw new Error("no server is known");
  await access.client.close();
  assert.deepEqual(await findTaken(pve, [server, server + 1]), [server]);
  assert.ok((await readCandidateHosts(pve, config)).every(({ found }) => found !== undefined));
}

/** What Proxmox says where a privilege is missing, when it is not the privilege itself. */
const saidInstead: Readonly<Record<string, RegExp>> = {
  [`replace /pool/${site.templates} VM.Audit`]: /^no template is listed$/,
  [`replace /pool/${site.nodes} VM.Allocate`]: /^Permission check failed \(403 to POST \S+\/clone\)$/,
  [`replace /pool/${site.nodes} Pool.Audit`]: /Permission check failed \(\/pool\/evergreen-nodes, Pool\.Allocate\)/,
  [`read /pool/${site.templates} VM.Audit`]: /^no template is listed$/,
  [`read /pool/${site.nodes} VM.Audit`]: /the token may not see the VMs of the pool.*\n.*VM\.Audit/,
  [`read /pool/${site.nodes} Pool.Audit`]: /^no server is known$/,
};

function refusalOf(purpose: Purpose, { path, anyOf }: Need): RegExp {
  const said = saidInstead[`${purpose} ${path} ${anyOf[0] ?? ""}`];
  if (said) return said;
  const where = path.startsWith("/pool/") ? "/vms/\\d+" : path;
  return new RegExp(`Permission check failed \\(${where}, ${anyOf.join("\\|").replaceAll(".", "\\.")}\\)`);
}

const sites = [
  { version: "8.4", storage: "dir", hosts: ["pve1"] },
  { version: "9.2", storage: "dir", hosts: ["pve1", "pve2"] },
  { version: "8.4", storage: "lvmthin", hosts: ["pve1", "pve2"] },
  { version: "9.2", storage: "zfspool", hosts: ["pve1", "pve2"] },
  { version: "8.4", storage: "rbd", hosts: ["pve1", "pve2"] },
] as const satisfies { version: DataCentre["version"]; storage: StorageKind; hosts: string[] }[];

for (const { version, storage, hosts } of sites) {
  describe(`least privilege, ${version}, ${storage} on ${hosts.length} host(s)`, function () {
    this.timeout(180_000);
    const major = Number.parseInt(version, 10);
    let bench: Bench;

    before(async () => {
      bench = await Bench.start(28_152, { version });
      await seedSite(bench.dc, { storage, hosts });
      seedVm(bench.dc, {
        vmid: server,
        name: "demo-servers-0-0a1b2c3d",
        pool: site.nodes,
        image,
        tags: tags("servers", 0),
      });
      await bench.task("POST", `nodes/${site.node}/qemu/${server}/status/start`);
      await bench.data("POST", `nodes/${site.node}/qemu/${server}/agent/ping`);
      bench.host.guests.get(server)?.machine.disk.set(guest.kubeconfig, Buffer.from(kubeconfig));
      bench.dc.see();
    });

    after(async () => bench.stop());

    /** A token with exactly these rights, the first of several alternatives. */
    const withRights = (name: string, needs: readonly Need[]): Proxmox => {
      const id = `${name}@pve!t`;
      bench.dc.addToken(id);
      for (const path of new Set(needs.map((need) => need.path))) {
        bench.dc.grant(
          id,
          path,
          needs.filter((need) => need.path === path).flatMap(({ anyOf }) => anyOf.slice(0, 1)),
        );
      }
      return bench.client(id);
    };

    it("is what the lab's own tokens have", () => {
      for (const [purpose, granted] of [
        ["replace", rolloutPrivileges(version, site)],
        ["read", readPrivileges(version, site)],
      ] as const) {
        const needed = neededRights(where, { major }, purpose).map(({ path, anyOf }) => `${path} ${anyOf[0] ?? ""}`);
        const given = Object.entries(granted).flatMap(([path, names]) => names.map((name) => `${path} ${name}`));
        assert.deepEqual(given.sort(), needed.sort(), purpose);
      }
    });

    it("replaces a node, and looks at the site", async () => {
      const pve = bench.client(site.rolloutToken);
      for (const purpose of ["read", "replace"] as const)
        assert.deepEqual(await findPermissionProblems(pve, where, purpose), []);
      await life(pve, 1100);
      await look(pve);
      assert.ok(!bench.dc.vms.has(1100));
    });

    it("looks at the site with less, and can change no VM", async () => {
      const pve = bench.client(site.readToken);
      assert.deepEqual(await findPermissionProblems(pve, where, "read"), []);
      await look(pve);
      const vm = `/nodes/${site.node}/qemu/${server}`;
      const template = `/nodes/${site.node}/qemu/9001`;
      const before = JSON.stringify([...(bench.dc.vms.get(server)?.config ?? [])]);
      const changes: (() => Promise<unknown>)[] = [
        () => pve.post(`${template}/clone`, { newid: 1190, pool: site.nodes }),
        () => pve.post(`/nodes/${site.node}/qemu`, { vmid: 1190, pool: site.nodes }),
        () => pve.put(`${vm}/config`, { name: "mine" }),
        () => pve.put(`${vm}/resize`, { disk: "scsi0", size: "99G" }),
        ...["start", "stop", "shutdown", "reboot"].map((verb) => () => pve.post(`${vm}/status/${verb}`)),
        () => pve.post(`${vm}/template`),
        () => pve.delete(vm),
        () => pve.put("/pools", { poolid: site.nodes, vms: server }),
        // Before 9 one privilege is for all that an agent can be asked.
        ...(major < 9 ? [] : [() => pve.post(`${vm}/agent/file-write`, { file: "/x", content: "" })]),
      ];
      for (const change of changes) await assert.rejects(change, /Permission check failed .*\(403/);
      assert.equal(JSON.stringify([...(bench.dc.vms.get(server)?.config ?? [])]), before);
      assert.ok(bench.dc.vms.get(server)?.power);
    });

    for (const purpose of ["replace", "read"] as const) {
      for (const [nth, lost] of neededRights(where, { major }, purpose).entries()) {
        const spared = purpose === "replace" && lost.anyOf[0] === "Datastore.Audit" && storage === "dir";
        const title = `${spared ? "would go" : "fails"} without ${lost.anyOf[0] ?? ""} on ${lost.path}`;
        it(`to ${purpose} ${title}, and is refused before by that name`, async () => {
          const rest = neededRights(where, { major }, purpose).filter((_, other) => other !== nth);
          const pve = withRights(`${purpose}-${nth}`, rest);
          const problems = await findPermissionProblems(pve, where, purpose);
          assert.deepEqual(
            problems.map((problem) => [problem.what, problem.where]),
            [[`the Proxmox token lacks ${lost.anyOf.join(" or ")} (${lost.why})`, lost.path]],
          );
          const outcome = await (purpose === "replace" ? life(pve, 1110 + nth) : look(pve)).then(
            () => "done",
            messageOf,
          );
          // A site may go on with another kind of storage: the rights are the same for all.
          assert.match(outcome, spared ? /^done$/ : refusalOf(purpose, lost));
        });
      }
    }
  });
}
