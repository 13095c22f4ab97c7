import assert from "node:assert/strict";
import { generationOf } from "../../src/domain/model/generation.ts";
import type { SlotPlan } from "../../src/domain/model/types.ts";
import { checkTemplates } from "../../src/observe/templates.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { NEW, picture } from "../support/picture.ts";

const made = (slot: number, diskGiB: number): SlotPlan => {
  const generation = generationOf({ image: NEW, rke2: "v1.34.5+rke2r1", cores: 2, memoryMiB: 4096, diskGiB });
  return { slot, generation, name: `new-${slot}`, vmid: 1100 + slot, creates: true, replaces: [] };
};

describe("the templates of a run", () => {
  const config = { scsi0: "local:x,size=30G", net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=20" };

  it("are read once each, and what their clones would lose is refused with the smallest disk in mind", async () => {
    await using pve = await fakeProxmox(() => ({ data: config }));
    const check = checkTemplates(pve.client, picture(), ["pve1"], [made(0, 40), made(1, 20)]);
    await assert.rejects(
      check,
      /tag=20[^]*where: template \S+, VM \d+ on pve1[^]*disk has 30 GiB, and a clone shall have 20/,
    );
    assert.equal(pve.seen.length, 1);
    assert.match(pve.seen[0]?.path ?? "", /^\/nodes\/pve1\/qemu\/\d+\/config$/);
  });

  it("are not asked when nothing is cloned", async () => {
    await using pve = await fakeProxmox(() => ({ data: config }));
    await checkTemplates(pve.client, picture(), ["pve1"], []);
    assert.equal(pve.seen.length, 0);
  });
});
