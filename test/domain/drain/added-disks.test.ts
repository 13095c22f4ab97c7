import assert from "node:assert/strict";
import { addedDisks, configuredDisks, furtherDisksOf } from "../../../src/domain/drain/added-disks.ts";

const names = (options: Record<string, string>) =>
  furtherDisksOf(new Map(Object.entries(options)), 1100).map(({ name }) => name);

describe("the disks that Proxmox destroys with a VM", () => {
  it("are those whose volumes have its number, beside its system disk and its firmware's", () => {
    assert.deepEqual(
      names({
        scsi0: "local:9000/base-9000-disk-0.qcow2/1100/vm-1100-disk-0.qcow2,size=40G",
        ide2: "local:1100/vm-1100-cloudinit.qcow2,media=cdrom",
        ide3: "none,media=cdrom",
        efidisk0: "thin:vm-1100-disk-1,efitype=4m,size=4M",
        tpmstate0: "thin:vm-1100-disk-2,size=4M,version=v2.0",
        scsi1: "local:1100/vm-1100-disk-3.qcow2,size=500G",
        virtio4: "file=thin:base-9000-disk-1/vm-1100-disk-4,size=10G",
        unused0: "tank:vm-1100-disk-5",
      }),
      ["scsi1", "virtio4", "unused0"],
    );
  });

  it("are none of other VMs, of the host, or of a CSI driver", () => {
    assert.deepEqual(
      names({
        scsi1: "thin:vm-9999-pvc-0b1c,size=10G",
        scsi2: "/dev/disk/by-id/ata-x,size=4T",
        scsi3: "lun:0.0.1.scsi-36001405,size=1T",
        scsi4: "thin:vm-11001-disk-0,size=1G",
        sata0: "none",
        net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0",
      }),
      [],
    );
  });
});

describe("the disks that somebody has attached to a VM", () => {
  const disks = ["scsi1", "scsi2", "unused0"].map((name) => ({ name, volume: `thin:vm-1100-${name}`, size: "1G" }));
  const added = (own: { disks?: string[] } | undefined, otherwise: string[]) =>
    addedDisks(disks, own, otherwise).map(({ name }) => name);

  it("are those that it was not made with, as it is recorded", () => {
    assert.deepEqual(added({ disks: ["scsi1"] }, ["scsi2"]), ["scsi2", "unused0"]);
    assert.deepEqual(added({ disks: [] }, ["scsi1"]), ["scsi1", "scsi2", "unused0"]);
  });

  it("are those that its configuration does not have, where nothing is recorded", () => {
    const hardware = { disks: [{ name: "data", sizeGiB: 10 }] };
    assert.deepEqual(added(undefined, configuredDisks({ hardware })), ["scsi2", "unused0"]);
    assert.deepEqual(added({}, configuredDisks({})), ["scsi1", "scsi2", "unused0"]);
  });
});
