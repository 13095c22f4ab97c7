import assert from "node:assert/strict";
import { generationOf } from "../../src/domain/model/generation.ts";
import type { NodeRecord, NodeSpec, ObservedVm, PoolRecord } from "../../src/domain/model/types.ts";
import { withAddedDisks } from "../../src/observe/added-disks.ts";
import { fakeProxmox, type Answer } from "../clients/proxmox/fake.ts";

const plain = { image: "ubuntu-v1", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 40 };
const spec: NodeSpec = {
  ...plain,
  config: {},
  labels: {},
  taints: [],
  hardware: { disks: [{ name: "a", sizeGiB: 1 }] },
};
const { id: generation } = generationOf(spec);
const disks = ["scsi1", "virtio0", "sata1"].map((name) => ({ name, volume: `thin:vm-1100-${name}`, size: "1G" }));
const place = { host: "pve1", pool: "workers", slot: 0, generation };
const vm: ObservedVm = { ...place, vmid: 1100, name: `demo-workers-0-${generation}`, running: true, uuid: "u" };
const template: Answer = {
  data: { scsi0: "thin:base-9000-disk-0,size=40G", virtio0: "thin:base-9000-disk-1,size=1G" },
};

/** The names of the disks that were added, and the number of requests. */
async function seen(own: Partial<NodeRecord> | undefined, answer = template, images = ["ubuntu-v1"]) {
  await using pve = await fakeProxmox(() => answer);
  const node: NodeRecord = { ...vm, phase: "handedOver", since: "", ...own };
  const record: PoolRecord = {
    pool: "workers",
    generations: [{ id: generation, spec, state: "proved", since: "" }],
    nodes: own ? [node] : [],
  };
  const [one] = await withAddedDisks(
    pve.client,
    [{ ...vm, furtherDisks: disks }],
    new Map([["workers", record]]),
    new Map(images.map((name) => [name, { name, rke2: spec.rke2, templates: [{ vmid: 9000, host: "pve1" }] }])),
  );
  return { added: one?.addedDisks?.map(({ name }) => name), asked: pve.seen.length };
}

describe("the disks that somebody has attached to a VM, as a run sees them", () => {
  it("are none that the record says it was made with, whatever its template has by now", async () => {
    assert.deepEqual(await seen({ disks: ["scsi1", "sata1"] }), { added: ["virtio0"], asked: 0 });
  });

  it("are none of its configuration and of its template, where that is not recorded", async () => {
    assert.deepEqual(await seen({}), { added: ["sata1"], asked: 1 });
    assert.deepEqual(await seen(undefined), { added: ["sata1"], asked: 1 });
  });

  it("are all but those of its configuration when the template is gone, or cannot be read", async () => {
    assert.deepEqual(await seen({}, template, []), { added: ["virtio0", "sata1"], asked: 0 });
    const refused = await seen({}, { status: 403, reason: "Permission check failed" });
    assert.deepEqual(refused.added, ["virtio0", "sata1"]);
  });

  it("are nobody's concern on a VM without further disks", async () => {
    await using pve = await fakeProxmox(() => template);
    assert.deepEqual(await withAddedDisks(pve.client, [vm], new Map(), new Map()), [vm]);
    assert.deepEqual(pve.seen, []);
  });
});
