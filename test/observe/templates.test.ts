import assert from "node:assert/strict";
import { generationOf } from "../../src/domain/model/generation.ts";
import type { NetworkCard } from "../../src/domain/model/hardware.ts";
import type { SlotPlan } from "../../src/domain/model/types.ts";
import { clonesOf, readTemplates, requireClonable, type Templates } from "../../src/observe/templates.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { NEW, picture } from "../support/picture.ts";

const made = (slot: number, diskGiB: number): SlotPlan => {
  const generation = generationOf({ image: NEW, rke2: "v1.34.5+rke2r1", cores: 2, memoryMiB: 4096, diskGiB });
  return { slot, generation, name: `new-${slot}`, vmid: 1100 + slot, creates: true, replaces: [] };
};

/** Both VMs on one host. */
const all = (host: string) => new Map([0, 1].map((slot) => [`new-${slot}`, host]));

describe("the templates of a run", () => {
  const placement = { storage: "local", fullClones: false };
  const config = { scsi0: "local:x,size=30G", net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20", protection: 1 };

  it("are read once each, and what their clones would lose is refused with the smallest disk in mind", async () => {
    await using pve = await fakeProxmox(() => ({ data: config }));
    const check = readTemplates(
      pve.client,
      clonesOf(picture(), all("pve1"), { placement, made: [made(0, 40), made(1, 20)] }),
    );
    await assert.rejects(
      check,
      /protection: 1[^]*where: template \S+, VM \d+ on pve1[^]*disk has 30 GiB, and a clone shall have 20/,
    );
    assert.equal(pve.seen.length, 1);
    assert.match(pve.seen[0]?.path ?? "", /^\/nodes\/pve1\/qemu\/\d+\/config$/);
  });

  const bound: [string, Record<string, unknown>, RegExp | undefined][] = [
    ["drives that all hosts have", { ide2: "ceph:vm-9002-cloudinit,media=cdrom", ide3: "none,media=cdrom" }, undefined],
    [
      "a CD of its host",
      { ide2: "local:iso/debian.iso,media=cdrom" },
      /ide2 .* on local, .* not on pve2[^]*delete ide2/,
    ],
    [
      "a CD out of sight",
      { ide2: "hidden:iso/debian.iso,media=cdrom" },
      /ide2 .* on hidden, .* out of the token's sight/,
    ],
    ["a TPM of its host", { tpmstate0: "local:vm-9002-disk-1" }, /tpmstate0 .* on local[^]*copy the template/],
  ];
  for (const [title, drives, says] of bound)
    it(`are ${says ? "refused for clones" : "cloned"} on another host with ${title}`, async () => {
      await using pve = await fakeProxmox(({ path }) => {
        if (path.includes("/hidden/")) return { status: 403, reason: "Permission check failed" };
        const config = { scsi0: "ceph:base-9002-disk-0,size=30G", ...drives };
        return { data: path.endsWith("/config") ? config : { shared: path.includes("/ceph/") ? 1 : 0 } };
      });
      const shared = { storage: "ceph", fullClones: false };
      const check = (host: string) =>
        readTemplates(pve.client, clonesOf(picture(), all(host), { placement: shared, made: [made(0, 40)] }));
      await check("pve1");
      if (says) await assert.rejects(check("pve2"), says);
      else await check("pve2");
    });

  it("are not asked when nothing is cloned", async () => {
    await using pve = await fakeProxmox(() => ({ data: config }));
    const templates = await readTemplates(pve.client, []);
    assert.deepEqual([pve.seen.length, templates.hardware.size, templates.needs], [0, 0, []]);
  });

  const networks: [string, object[], Record<string, object>, RegExp | undefined][] = [
    ["that of the configuration", [{ model: "virtio", bridge: "vmbr0" }], {}, undefined],
    [
      "a VLAN of a bridge with propagation",
      [{ model: "virtio", bridge: "vmbr0", vlan: 20 }],
      { vmbr0: { "SDN.Use": 1 } },
      undefined,
    ],
    [
      "a VLAN of a bridge without propagation",
      [{ model: "virtio", bridge: "vmbr0", vlan: 20 }],
      { vmbr0: { "SDN.Use": 0 } },
      /SDN.Use[^]*localnetwork\/vmbr0\/20/,
    ],
    [
      "that of a second card",
      [
        { model: "virtio", bridge: "vmbr0" },
        { model: "virtio", bridge: "vmbr1" },
      ],
      {},
      /SDN.Use[^]*localnetwork\/vmbr1/,
    ],
  ];
  for (const [title, cards, granted, says] of networks)
    it(`need a right on ${title}`, async () => {
      const rights = Object.entries(granted).map(([name, right]) => [`/sdn/zones/localnetwork/${name}`, right]);
      await using pve = await fakeProxmox(({ path }) => ({
        data: path.startsWith("/nodes/") ? [{ iface: "vmbr0" }, { iface: "vmbr1" }] : Object.fromEntries(rights),
      }));
      const templates: Templates = new Map([[9001, { networks: cards as NetworkCard[] }]]);
      const clones = [
        { spec: made(0, 40).generation.spec, template: { vmid: 9001, host: "pve1" }, host: "pve1", placement },
      ];
      const check = requireClonable(pve.client, { hardware: templates, needs: [] }, clones, "vmbr0");
      if (says) await assert.rejects(check, says);
      else await check;
    });

  const further: [
    string,
    Record<string, unknown>,
    { fullClones?: boolean; granted?: string[]; cpu?: string; version?: string },
    RegExp | undefined,
  ][] = [
    [
      "another storage of the template",
      { scsi1: "ssd:x,size=1G" },
      {},
      /AllocateSpace[^]*\/storage\/ssd[^]*Datastore.Audit/,
    ],
    [
      "another storage of the template, which it has",
      { scsi1: "ssd:x,size=1G" },
      { granted: ["/storage/ssd Datastore.AllocateSpace", "/storage/ssd Datastore.Audit"] },
      undefined,
    ],
    [
      "the storage of its firmware alone",
      { efidisk0: "ssd:x,size=1M" },
      { granted: ["/storage/ssd Datastore.AllocateSpace"] },
      undefined,
    ],
    ["no storage but the own one of a full copy", { scsi1: "ssd:x,size=1G" }, { fullClones: true }, undefined],
    ["no storage of a CD", { ide2: "iso:debian.iso,media=cdrom" }, {}, undefined],
    ["a mapped device", { hostpci0: "mapping=gpu,pcie=1" }, {}, /Mapping.Use[^]*\/mapping\/pci\/gpu/],
    ["a mapped USB device", { usb1: "mapping=key" }, {}, /Mapping.Use[^]*\/mapping\/usb\/key/],
    [
      "a mapped device that it may use",
      { usb1: "mapping=key" },
      { granted: ["/mapping/usb/key Mapping.Use"] },
      undefined,
    ],
    ["a directory of its host", { virtiofs0: "dirid=data,cache=auto" }, {}, /Mapping.Use[^]*\/mapping\/dir\/data/],
    ["no console", { usb1: "spice" }, {}, undefined],
    ["the random numbers of its host", { rng0: "source=/dev/hwrng" }, {}, /Mapping.Use[^]*where: \/mapping\/hwrng/],
    ["the random numbers of its host, in short", { rng0: "/dev/hwrng,max_bytes=9" }, {}, /\/mapping\/hwrng/],
    ["no random numbers of the kernel", { rng0: "source=/dev/urandom" }, {}, undefined],
    [
      "a CPU model of its own",
      { cpu: "cputype=custom-web,flags=+aes" },
      {},
      /Mapping.Use \(VMs get the CPU model custom-web\)[^]*where: \/mapping\/cpu\/web/,
    ],
    [
      "a CPU model of its own, which it has",
      { cpu: "custom-web" },
      { granted: ["/mapping/cpu/web Mapping.Use"] },
      undefined,
    ],
    ["no CPU model of its own before Proxmox asks for one", { cpu: "custom-web" }, { version: "9.1.4" }, undefined],
    ["a CPU model of the configuration", {}, { cpu: "custom-db" }, /where: \/mapping\/cpu\/db/],
    [
      "a CPU model of the configuration, as an older Proxmox asks for it",
      { cpu: "custom-web" },
      { cpu: "custom-db", version: "8.4.21" },
      /Sys.Audit \(VMs get the CPU model custom-db\)[^]*where: \/nodes\b/,
    ],
    [
      "a CPU model that the template has too, for an older Proxmox",
      { cpu: "custom-db" },
      { cpu: "custom-db", version: "8.4.21" },
      undefined,
    ],
    ["no empty CD drive", { ide3: "none,media=cdrom" }, {}, undefined],
    [
      "the CD drive of its host",
      { ide3: "cdrom,media=cdrom" },
      {},
      /lacks Sys.Console \(VM 9002, .* as ide3\)[^]*do: +qm set 9002 --ide3 none,media=cdrom/,
    ],
    [
      "the CD drive of its host, which it has",
      { ide3: "cdrom,media=cdrom" },
      { granted: ["/ Sys.Console"] },
      undefined,
    ],
  ];
  for (const [title, drives, { fullClones = false, granted = [], cpu, version = "9.2.0" }, says] of further)
    it(`need a right on ${title}`, async () => {
      const rights = ["/sdn/zones/localnetwork/vmbr0 SDN.Use", ...granted].map(
        (one) => one.split(" ") as [string, string],
      );
      const config = { scsi0: "local:x,size=30G", net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0", ...drives };
      await using pve = await fakeProxmox(({ path }) => {
        if (path.endsWith("/config")) return { data: config };
        if (path === "/version") return { data: { version } };
        if (path.startsWith("/nodes/")) return { data: [{ iface: "vmbr0" }] };
        const paths = Map.groupBy(rights, ([where]) => where);
        return {
          data: Object.fromEntries(
            [...paths].map(([where, names]) => [where, Object.fromEntries(names.map(([, name]) => [name, 1]))]),
          ),
        };
      });
      const [clone] = clonesOf(picture(), all("pve1"), {
        placement: { storage: "local", fullClones },
        made: [made(0, 40)],
      });
      assert.ok(clone);
      const clones = [{ ...clone, spec: { ...clone.spec, ...(cpu && { hardware: { cpu: { type: cpu } } }) } }];
      const check = requireClonable(pve.client, await readTemplates(pve.client, clones), clones, "vmbr0");
      if (says) await assert.rejects(check, says);
      else await check;
    });

  it("need the right on a VNet in the zone that the configuration names", async () => {
    const need = async (granted: string) => {
      await using pve = await fakeProxmox(({ path }) => ({
        data: path.startsWith("/nodes/") ? [{ iface: "vnet1" }] : { [granted]: { "SDN.Use": 1 } },
      }));
      const networks = [{ model: "virtio", bridge: "vnet1", zone: "campus" }];
      const spec = { ...made(0, 40).generation.spec, hardware: { networks } };
      const templates: Templates = new Map([[9001, { networks: [{ model: "virtio", bridge: "vnet1" }] }]]);
      const clone = { spec, template: { vmid: 9001, host: "pve1" }, host: "pve1", placement };
      await requireClonable(pve.client, { hardware: templates, needs: [] }, [clone], "vmbr0");
    };
    await need("/sdn/zones/campus");
    await assert.rejects(need("/sdn/zones/localnetwork"), /SDN.Use[^]*\/sdn\/zones\/campus\/vnet1/);
  });

  const vnets: [string, string, "vnet" | "bridge" | undefined, RegExp | undefined][] = [
    ["of a VNet in the zone of its own", "/sdn/zones/campus/vnet1", "vnet", undefined],
    ["of a VNet in any zone", "/sdn/zones", "vnet", undefined],
    [
      "of a VNet, for a right on another one",
      "/sdn/zones/campus/vnet2",
      "vnet",
      /SDN.Use[^]*zones\/localnetwork\/vnet1/,
    ],
    ["of a bridge, for a right on VNets", "/sdn/zones/campus", "bridge", /SDN.Use[^]*zones\/localnetwork\/vnet1/],
    [
      "out of the token's sight",
      "/sdn/zones/campus/vnet2",
      undefined,
      /localnetwork\/vnet1[^]*a VNet has its zone in place/,
    ],
  ];
  for (const [title, granted, type, says] of vnets)
    it(`${says ? "need" : "find"} the right on a card ${title}, which the configuration names no zone for`, async () => {
      await using pve = await fakeProxmox(({ path }) => {
        const rows = [{ iface: "vmbr0", type: "bridge" }, ...(type === undefined ? [] : [{ iface: "vnet1", type }])];
        const rights = { "/sdn/zones/localnetwork/vmbr0": { "SDN.Use": 1 }, [granted]: { "SDN.Use": 1 } };
        return { data: path.startsWith("/nodes/") ? rows : rights };
      });
      const networks = ["vmbr0", "vnet1"].map((bridge) => ({ model: "virtio", bridge }));
      const hardware: Templates = new Map([[9001, { networks }]]);
      const clone = {
        spec: made(0, 40).generation.spec,
        template: { vmid: 9001, host: "pve1" },
        host: "pve1",
        placement,
      };
      const check = requireClonable(pve.client, { hardware, needs: [] }, [clone], "vmbr0");
      if (says) await assert.rejects(check, says);
      else await check;
    });

  it("have networks that every host of theirs has", async () => {
    await using pve = await fakeProxmox(({ path }) => ({
      data: path.startsWith("/nodes/pve1/network") ? [{ iface: "vmbr0" }, { iface: "vmbr1" }] : [{ iface: "vmbr0" }],
    }));
    const { spec } = made(0, 40).generation;
    const template = { vmid: 9001, host: "pve1" };
    const check = (host: string, bridge: string) =>
      requireClonable(
        pve.client,
        { hardware: new Map([[9001, {}]]), needs: [] },
        [{ spec, template, host, placement }],
        bridge,
      );
    await check("pve1", "vmbr1");
    await check("pve2", "vmbr0");
    await assert.rejects(check("pve2", "vmbr1"), /pve2 has no bridge or VNet vmbr1[^]*pve2 has vmbr0/);
  });
});
