import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { keyPair } from "../evidence/image.ts";
import { refused, says, type Message } from "./refusal.ts";
import { Site } from "./site.ts";

const pool = (more: object) => ({ name: "more", image: "ubuntu-24.04-rke2-v1.0.0", slots: 1, ...more });
const known = "ubuntu-24.04-rke2-v1.0.0";

describe("what a run refuses before it begins", function () {
  this.timeout(180_000);
  let site: Site;
  let token: string;
  let stackFile: string;
  let asItWas: string;

  before(async () => {
    site = await Site.create("127.75");
    stackFile = join(site.project, "Pulumi.dev.yaml");
    asItWas = await readFile(stackFile, "utf8");
    token = site.lab.env.PROXMOX_VE_API_TOKEN;
  });

  after(async () => {
    await site.close();
  });

  afterEach(async () => {
    await writeFile(stackFile, asItWas);
    await site.lab.call("DELETE /faults", undefined);
  });

  it("missing credentials", async () => {
    const output = await refused(
      site,
      [
        {
          what: /PROXMOX_VE_ENDPOINT is not set/,
          where: /the environment/,
          todo: /export PROXMOX_VE_ENDPOINT='https:/,
        },
        { what: /PROXMOX_VE_API_TOKEN is not set/, where: /the environment/, todo: /export .*USER@REALM!ID=UUID/ },
      ],
      { PROXMOX_VE_ENDPOINT: "", PROXMOX_VE_API_TOKEN: "" },
    );
    assert.ok(!output.includes(token));
  });

  it("a wrong token, without showing it", async () => {
    const wrong = `${token.slice(0, token.indexOf("="))}=00000000-0000-0000-0000-000000000000`;
    const output = await refused(
      site,
      [
        {
          what: /does not accept the token evergreen@pve!rollout/,
          where: /https:\/\/127\.75\.0\.2:8006/,
          todo: /PROXMOX_VE_API_TOKEN/,
        },
      ],
      { PROXMOX_VE_API_TOKEN: wrong },
    );
    assert.ok(!output.includes("00000000-0000"));
  });

  it("an endpoint where nobody answers, with what was tried", async () => {
    await refused(
      site,
      [
        {
          what: /does not answer \(ECONNREFUSED, 4 tries\)/,
          where: /GET https:\/\/127\.75\.0\.9:8006/,
          todo: /PROXMOX_VE_ENDPOINT/,
        },
      ],
      { PROXMOX_VE_ENDPOINT: "https://127.75.0.9:8006/" },
    );
  });

  it("another way to Proxmox for the provider alone, from the stack's file and from the environment", async () => {
    await writeFile(stackFile, asItWas.replace("config:\n", "config:\n  proxmoxve:endpoint: https://127.0.0.1:1/\n"));
    await refused(site, [
      {
        what: /proxmoxve:endpoint is set/,
        where: /the configuration of the stack/,
        todo: /config rm proxmoxve:endpoint/,
      },
    ]);
    await writeFile(stackFile, asItWas);
    await refused(site, [{ what: /PROXMOX_VE_INSECURE is set/, where: /the environment/, todo: /unset/ }], {
      PROXMOX_VE_INSECURE: "true",
    });
  });

  it("an engine that would go on after errors", async () => {
    await refused(site, [{ what: /PULUMI_CONTINUE_ON_ERROR is set/, where: /the environment/, todo: /unset/ }], {
      PULUMI_CONTINUE_ON_ERROR: "true",
    });
    const ran = await site.launcher("up", "--yes", "--continue-on-error");
    assert.equal(ran.code, 1, ran.output);
    says(ran.output, { what: /continue-on-error/, where: /command line/, todo: /without/ });
  });

  it("privileges that are missing, each with its path", async () => {
    await site.lab.call("POST /faults", { kind: "revoke-privilege", privilege: "VM.PowerMgmt" });
    await site.lab.call("POST /faults", { kind: "revoke-privilege", privilege: "Datastore.AllocateSpace" });
    await refused(site, [
      {
        what: /lacks VM\.PowerMgmt/,
        where: /^\/pool\/evergreen-nodes$/,
        todo: /role with VM\.PowerMgmt on \/pool\/evergreen-nodes/,
      },
      { what: /lacks Datastore\.AllocateSpace/, where: /^\/storage\/local$/, todo: /Datastore\.AllocateSpace/ },
    ]);
  });

  it("a key that is unknown, and the value that is missing for it", async () => {
    await site.configure({ "pools.0.slots": undefined, "pools.0.slot": 6 });
    await refused(site, [
      { what: /the key "slot" is unknown/, where: /evergreen:pools\[0\]\.slot$/, todo: /did you mean "slots"/ },
      { what: /a value is missing/, where: /evergreen:pools\[0\]\.slots$/, todo: /set it/ },
    ]);
  });

  it("ranges that overlap, and ranges that are too small", async () => {
    await site.configure({ "pools.0.vmIds": { first: 1015, last: 1020 }, "pools.0.firstAddress": "127.75.0.26" });
    await refused(site, [
      { what: /6 VMIDs are too few for 6 slots/, where: /evergreen:pools\[0\]\.vmIds/, todo: /at least 12 wide/ },
      { what: /VMIDs 1015-1020 overlap with 1000-1019/, where: /evergreen:pools\[0\]\.vmIds/, todo: /move it/ },
      { what: /addresses overlap/, where: /evergreen:pools\[0\]\.firstAddress/, todo: /move/ },
    ]);
  });

  const config: [string, Record<string, unknown>, Message][] = [
    [
      "an address of two pools",
      { "pools.1": pool({ vmIds: { first: 1300, last: 1309 }, firstAddress: "127.75.0.105" }) },
      { what: /addresses overlap with those of workers/, where: /evergreen:pools\[1\]\.firstAddress/, todo: /move/ },
    ],
    [
      "a disk that is smaller than the template's",
      { "pools.0.diskGiB": 5 },
      { what: /disk has 10 GiB, and a clone shall have 5/, where: /template ubuntu/, todo: /diskGiB/ },
    ],
    [
      "a CPU type that a host does not know",
      { "pools.0.cpu": { type: "x86-64-v9" } },
      { what: /pve1 knows no CPU type x86-64-v9/, where: /cpu\.type/, todo: /types/ },
    ],
    [
      "a bridge that is not there",
      { "pools.0.networks": [{ bridge: "vmbr9" }] },
      { what: /lacks SDN\.Use/, where: /localnetwork\/vmbr9$/, todo: /SDN\.Use/ },
    ],
    [
      "a device whose mapping is not there",
      { "pools.0.devices": [{ mapping: "gpu" }] },
      { what: /lacks Mapping\.Use/, where: /^\/mapping\/pci\/gpu$/, todo: /Mapping\.Use/ },
    ],
    [
      "a storage that is not there, for further disks",
      { "pools.0.disks": [{ name: "data", sizeGiB: 1, storage: "nowhere" }] },
      { what: /lacks Datastore\.A/, where: /^\/storage\/nowhere$/, todo: /Datastore/ },
    ],
    [
      "a weight of a host that is not there",
      { "site.hostWeights": { pve9: 1 } },
      { what: /pve9 has a weight/, where: /hostWeights\["pve9"\]/, todo: /the hosts are pve1/ },
    ],
    ["Proxmox HA", { "pools.0.ha": true }, { what: /Sys\.Console on \//, where: /pools\[0\]\.ha/, todo: /remove/ }],
  ];
  // What this lab has not: a bridge on one of several hosts (test/observe/templates.test.ts), a storage without disk images
  // (hosts.test.ts), a mapping or a CPU type on one of several hosts (host-hardware.test.ts), a proxy that refuses
  // (test/runtime/proxy.test.ts).
  for (const [title, changes, message] of config)
    it(title, async () => {
      await site.configure(changes);
      await refused(site, [message]);
    });

  it("the same behind a proxy for others: the program reaches its engine on this machine without it", async () => {
    const proxy = createServer();
    proxy.on("connect", (_request, socket) => socket.end("HTTP/1.1 403 Forbidden\r\n\r\n"));
    await once(proxy.listen(0, "127.75.0.200"), "listening");
    const url = `http://127.75.0.200:${(proxy.address() as AddressInfo).port}`;
    await site.configure({ "pools.0.ha": true });
    const through = { HTTPS_PROXY: url, https_proxy: url, NO_PROXY: "", no_proxy: "" };
    await refused(site, [{ what: /Sys\.Console on \//, where: /pools\[0\]\.ha/, todo: /remove/ }], through);
    proxy.close();
  });

  it("ids that others hold", async () => {
    for (const vmid of [1100, 1102, 1104, 1105, 1107, 1108])
      await site.lab.call("POST /faults", { kind: "stranger", vmid });
    await site.configure({ "pools.0.slots": 5, "pools.0.vmIds": { first: 1100, last: 1109 } });
    await refused(site, [
      { what: /5 new VMs of pool workers need a VMID and 4 are free/, where: /vmIds 1100-1109/, todo: /widen vmIds/ },
    ]);
  });

  it("a storage that has no room", async () => {
    await site.lab.call("POST /faults", { kind: "full-storage" });
    await refused(site, [
      {
        what: /9 new disks may grow to 90 GiB and 0 GiB are free/,
        where: /storage local on pve1/,
        todo: /free space/,
      },
    ]);
  });

  it("a template that is missing, one that is none, and one that is not tagged", async () => {
    const image = "ubuntu-24.04-rke2-v3.0.0";
    const missing = { what: /no template ubuntu-24\.04-rke2-v3\.0\.0/, where: /evergreen:pools\[0\]\.image/ };
    await site.configure({ "pools.0.image": image });
    await refused(site, [{ ...missing, todo: new RegExp(`one that the token can see.*${known}`) }]);

    const tags = ["evergreen", "eg-image", "rke2-v1.34.4+rke2r1"];
    const pool = "evergreen-templates";
    await site.lab.call("POST /faults", { kind: "stranger", vmid: 9100, name: image, tags, pool });
    await refused(site, [{ ...missing, what: /VM 9100 .*is not a template/, todo: /qm template 9100/ }]);

    await site.configure({ "pools.0.image": known });
    await site.lab.call("POST /faults", { kind: "tag-vm", vm: 9001, tags: ["evergreen", "rke2-v1.34.4+rke2r1"] });
    await refused(site, [
      { ...missing, what: /v1\.0\.0 has not the tags of an image/, todo: /VM 9001 .*eg-image and rke2-/ },
    ]);
    await site.lab.call("POST /faults", { kind: "tag-vm", vm: 9001, tags });
  });

  // The last one: a token that was revoked does not come back.
  it("templates without a record, where the configuration demands one", async () => {
    const { publicKey } = keyPair();
    const keys = [{ name: "site-2026", from: "2026-08-01T00:00:00Z", publicKey }];
    await site.configure({ images: { keys } });
    const none = { what: /the template has no record/, todo: /GoldenImage/ };
    await refused(site, [
      { ...none, where: /template ubuntu-24\.04-rke2-v1\.0\.0, VM 9001 on pve1/ },
      { ...none, where: /template ubuntu-24\.04-rke2-v1\.1\.0, VM 9002 on pve1/ },
    ]);
  });

  it("a token that was revoked", async () => {
    await site.lab.call("POST /faults", { kind: "revoke-token" });
    const output = await refused(site, [
      { what: /Proxmox does not accept the token/, where: /8006/, todo: /pveum user token list/ },
    ]);
    assert.ok(!output.includes(token));
  });
});
