import assert from "node:assert/strict";
import { labImage, seedSite, seedVm, site } from "../../../lab/proxmox/site.ts";
import { Bench } from "./bench.ts";

/** What is said of a value, behind the name of its option; one line, as all that are said of properties are. */
const refusals: [option: string, value: string | number, answer: string][] = [
  ["cpu", "nosuch", "invalid format - Built-in cputype 'nosuch' is not defined (missing 'custom-' prefix?)\n"],
  ["cpu", "flags=+aes", "invalid format - Built-in cputype '' is not defined (missing 'custom-' prefix?)\n"],
  ["cpu", "custom-mine", "invalid format - Custom cputype 'mine' not found\n"],
  [
    "cpu",
    "host,flags=+nosuch",
    "invalid format - VM-specific CPU flags must be a subset of: pcid, spec-ctrl, ibpb, ssbd, virt-ssbd, amd-ssbd, " +
      "amd-no-ssb, pdpe1gb, md-clear, hv-tlbflush, hv-evmcs, aes\n",
  ],
  ["cpu", "host,flags=aes", "invalid format - format error\ncpu.flags: value does not match the regex pattern\n"],
  [
    "cpu",
    "host,reported-model=kvm64",
    "invalid format - Property 'reported-model' not allowed in VM-specific CPU config.\n",
  ],
  ["cpu", "host,hidden=2", "invalid format - format error\ncpu.hidden: type check ('boolean') failed - got '2'\n"],
  ["boot", "foo", "invalid format - format error\nboot.legacy: value does not match the regex pattern\n"],
  [
    "boot",
    "order=efidisk0",
    "invalid format - format error\nboot.order: invalid format - invalid boot device 'efidisk0'\n",
  ],
  ["boot", "order=scsi0,foo=1", "invalid format - invalid key in comma-separated list property: foo\n"],
  [
    "vga",
    "nosuch",
    "invalid format - format error\nvga.type: value 'nosuch' does not have a value in the enumeration 'cirrus, qxl, qxl2, " +
      "qxl3, qxl4, none, serial0, serial1, serial2, serial3, std, virtio, virtio-gl, vmware'\n",
  ],
  ["vga", "std,memory=2", "invalid format - format error\nvga.memory: value must have a minimum value of 4\n"],
  ["machine", "nosuch", "invalid format - format error\nmachine.type: value does not match the regex pattern\n"],
  [
    "machine",
    "q35,viommu=amd",
    "invalid format - format error\nmachine.viommu: value 'amd' does not have a value in the enumeration 'intel, virtio'\n",
  ],
  ["smbios1", "uuid=nosuch", "invalid format - format error\nsmbios1.uuid: value does not match the regex pattern\n"],
  ["smbios1", "serial=a b", "invalid format - format error\nsmbios1.serial: value does not match the regex pattern\n"],
  ["smbios1", "nosuch", "invalid format - value without key, but schema does not define a default key\n"],
  ["hotplug", "network,nosuch", "invalid format - invalid hotplug feature 'nosuch'\n"],
  [
    "keyboard",
    "xx",
    "value 'xx' does not have a value in the enumeration 'de, de-ch, da, en-gb, en-us, es, fi, fr, fr-be, fr-ca, fr-ch, " +
      "hu, is, it, ja, lt, mk, nl, no, pl, pt, pt-br, sv, sl, tr'",
  ],
  [
    "watchdog",
    "i6300esb,action=bark",
    "invalid format - format error\nwatchdog.action: value 'bark' does not have a value in the enumeration 'reset, " +
      "shutdown, poweroff, pause, debug, none'\n",
  ],
  [
    "virtiofs0",
    "cache=auto",
    "invalid format - format error\nvirtiofs0.dirid: property is missing and it is not optional\n",
  ],
  ["startdate", "tomorrow", "value does not match the regex pattern"],
  [
    "cicustom",
    "user=none",
    "invalid format - format error\ncicustom.user: invalid format - unable to parse volume ID 'none'\n",
  ],
  ["cicustom", "local:a", "invalid format - value without key, but schema does not define a default key\n"],
  ["cpulimit", 129, "value must have a maximum value of 128"],
  ["cpulimit", "fast", "type check ('number') failed - got 'fast'"],
  ["cpuunits", 0, "value must have a minimum value of 1"],
  ["cpuunits", 262_145, "value must have a maximum value of 262144"],
  ["shares", 50_001, "value must have a maximum value of 50000"],
  ["agent", "1,nosuch=1", "invalid format - invalid key in comma-separated list property: nosuch\n"],
  ["onboot", "TRUE", "type check ('boolean') failed - got 'TRUE'"],
  ["onboot", "on", "type check ('boolean') failed - got 'on'"],
  ["onboot", "No", "type check ('boolean') failed - got 'No'"],
];

const accepted: [option: string, value: string | number][] = [
  ["cpu", "x86-64-v2-AES,flags=+aes;-pcid"],
  ["cpu", "cputype=host,hidden=yes,phys-bits=host"],
  ["boot", "cdn"],
  ["boot", "order=scsi0;net0"],
  ["vga", "virtio,memory=64"],
  ["machine", "pc-q35-9.2+pve1"],
  ["machine", "type=q35,viommu=intel"],
  ["smbios1", "uuid=a32edb2d-da3e-411e-bec8-3d9e950698f6,serial=YWJj,base64=1"],
  ["hotplug", "1"],
  ["hotplug", "disk,network,cloudinit"],
  ["keyboard", "en-us"],
  ["watchdog", "model=ib700,action=reset"],
  ["startdate", "2026-11-29T05:00:00"],
  ["cpulimit", "0.5"],
  ["agent", "enabled=on,fstrim_cloned_disks=off"],
  ["ostype", "solaris"],
  ["onboot", "1"],
];

describe("options of a VM", () => {
  let bench: Bench;
  const vm = "nodes/pve1/qemu/1100";

  before(async () => {
    bench = await Bench.start(28_193);
    await seedSite(bench.dc);
    seedVm(bench.dc, { vmid: 1100, name: "n", pool: site.nodes, image: labImage("1.0.0", "v1") });
  });

  after(async () => bench.stop());

  for (const [option, value, answer] of refusals) {
    it(`refuse ${option} ${value}`, async () => {
      const before = bench.dc.vms.get(1100)?.config.get(option);
      const { status, body } = await bench.call("PUT", `${vm}/config`, { [option]: value });
      assert.deepEqual([status, body?.errors], [400, { [option]: answer }]);
      assert.equal(bench.dc.vms.get(1100)?.config.get(option), before);
      const created = await bench.call("POST", "nodes/pve1/qemu", { vmid: 1101, [option]: value });
      assert.deepEqual([created.status, created.body?.errors], [400, { [option]: answer }]);
    });
  }

  for (const [option, value] of accepted) {
    it(`take ${option} ${value}`, async () => {
      await bench.data("PUT", `${vm}/config`, { [option]: value });
      assert.equal(String(bench.dc.vms.get(1100)?.config.get(option)), String(value));
    });
  }
});
