import assert from "node:assert/strict";
import { templateFaults } from "../../../src/domain/images/template.ts";

/** What the lab's own templates, and those of a plain `qm create`, look like. */
const plain = {
  cores: "1",
  memory: "2048",
  cpu: "x86-64-v2-AES",
  agent: "enabled=1",
  scsihw: "virtio-scsi-pci",
  scsi0: "local:9001/base-9001-disk-0.qcow2,size=10G",
  ide2: "local:9001/vm-9001-cloudinit.qcow2,media=cdrom",
  net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0",
  boot: "order=scsi0",
  template: "1",
};

describe("what a template has", () => {
  const cases: [string, Record<string, string | undefined>, RegExp | undefined][] = [
    ["is plain", {}, undefined],
    ["has a VLAN", { net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20" }, /tag=20, .* lose its VLAN/],
    ["has trunks", { net0: "virtio=BC:24:11:00:00:01,trunks=2;3" }, /trunks=2;3/],
    ["has an MTU", { net0: "virtio=BC:24:11:00:00:01,mtu=9000" }, /mtu=9000/],
    ["has the firewall on", { net0: "virtio=BC:24:11:00:00:01,firewall=1" }, /firewall=1, .* lose Proxmox's firewall/],
    ["has the firewall off", { net0: "virtio=BC:24:11:00:00:01,firewall=0" }, undefined],
    ["has queues", { net0: "virtio=BC:24:11:00:00:01,queues=4" }, /queues=4/],
    ["has a limit", { net0: "virtio=BC:24:11:00:00:01,rate=10" }, /rate=10/],
    ["is on another bridge", { net0: "e1000=BC:24:11:00:00:01,bridge=vmbr7" }, undefined],
    ["has a second card", { net1: "virtio=BC:24:11:00:00:02,bridge=vmbr1" }, /net1: .* clones have one network card/],
    ["has the host's CPU", { cpu: "host" }, /cpu: host, and its clones have x86-64-v2-AES/],
    ["has flags of its CPU", { cpu: "x86-64-v2-AES,flags=+pcid" }, /flags=\+pcid/],
    ["has a lesser CPU", { cpu: "cputype=kvm64" }, undefined],
    ["has no type of CPU", { cpu: undefined }, undefined],
    ["has NUMA", { numa: "1" }, /numa: 1/],
    ["has a NUMA node", { numa0: "cpus=0-1,memory=1024" }, /numa0: /],
    ["has NUMA off", { numa: "0" }, undefined],
    ["has a balloon", { balloon: "1024" }, /balloon: 1024/],
    ["has no balloon", { balloon: "0" }, undefined],
    ["has another controller", { scsihw: "megasas" }, /scsihw: megasas/],
    ["is protected", { protection: "1" }, /protection: 1: its clones would have it too/],
    ["is not protected", { protection: "0" }, undefined],
    ["has no scsi0", { scsi0: undefined, virtio0: "local:9001/base-9001-disk-0.qcow2,size=10G" }, /no disk scsi0/],
    ["has a disk of the same size", { scsi0: "local:x,size=40G" }, undefined],
    ["has a smaller disk in MiB", { scsi0: "local:x,size=3584M" }, undefined],
    ["has a greater disk", { scsi0: "local:x,size=41G" }, /disk has 41 GiB, and a clone shall have 40/],
    ["has a disk of a TiB", { scsi0: "local:x,size=1T" }, /disk has 1024 GiB/],
  ];
  for (const [title, changes, says] of cases) {
    it(`${says ? "is refused by name" : "is used"} when it ${title}`, () => {
      const all: Record<string, string | undefined> = { ...plain, ...changes };
      const options = Object.entries(all).flatMap(([name, value]): [string, string][] =>
        value === undefined ? [] : [[name, value]],
      );
      const faults = templateFaults(new Map(options), 9001, 40).map(({ what }) => what);
      assert.equal(faults.length, says ? 1 : 0, faults.join("\n"));
      if (says) assert.match(faults[0] ?? "", says);
    });
  }
});
