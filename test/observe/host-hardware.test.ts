import assert from "node:assert/strict";
import type { NodeHardware } from "../../src/domain/model/hardware.ts";
import { requireHostHardware } from "../../src/observe/host-hardware.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";

const gpu = (mapping: string): NodeHardware => ({ devices: [{ kind: "pci", mapping, pcie: false }] });

describe("what hosts of new VMs have", () => {
  const cases: [title: string, hardware: NodeHardware, hosts: string[], says: RegExp | undefined][] = [
    ["nothing in particular", {}, ["pve1", "pve2"], undefined],
    ["a mapping on its host", gpu("gpu"), ["pve1"], undefined],
    ["a mapping that does not exist", gpu("gpuu"), ["pve1"], /no resource mapping gpuu for PCI devices[^]*\(gpu\)/],
    [
      "a mapping that another host has",
      gpu("gpu"),
      ["pve1", "pve2"],
      /gpu has no device on the Proxmox host pve2[^]*it has pve1/,
    ],
    [
      "a mapping of the other kind",
      { devices: [{ kind: "usb", mapping: "gpu", pcie: false }] },
      ["pve1"],
      /no resource mapping gpu for USB devices[^]*the token sees none/,
    ],
    ["a CPU type that all hosts know", { cpu: { type: "x86-64-v3" } }, ["pve1", "pve2"], undefined],
    [
      "a CPU type that one host lacks",
      { cpu: { type: "EPYC-Turin" } },
      ["pve1", "pve2"],
      /pve2 knows no CPU type EPYC-Turin/,
    ],
    ["a custom CPU model, which the token cannot see", { cpu: { type: "custom-web" } }, ["pve1"], undefined],
    ["a CPU type on a host that does not say what it knows", { cpu: { type: "x86-64-v9" } }, ["pve3"], undefined],
  ];
  for (const [title, hardware, hosts, says] of cases)
    it(`${says ? "is refused" : "is right"} for ${title}`, async () => {
      await using pve = await fakeProxmox(({ path }) => {
        if (path === "/cluster/mapping/pci")
          return { data: [{ id: "gpu", map: ["id=10de:1db6,node=pve1,path=0000:01:00.0"] }] };
        if (path === "/cluster/mapping/usb") return { data: [] };
        if (path.startsWith("/nodes/pve3/")) return { status: 403, reason: "Permission check failed" };
        const newer = path.startsWith("/nodes/pve1/") ? ["EPYC-Turin"] : [];
        return { data: ["host", "x86-64-v3", ...newer].map((name) => ({ name, custom: 0 })) };
      });
      const spec = { image: "i-v1.0.0", rke2: "v1.34.5+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 40, hardware };
      const clones = hosts.map((host) => ({
        ...{ spec, host, template: { vmid: 9001, host: "pve1" } },
        placement: { storage: "local", fullClones: false },
      }));
      const check = requireHostHardware(pve.client, clones);
      if (says) await assert.rejects(check, says);
      else await check;
    });
});
