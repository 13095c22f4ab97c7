import assert from "node:assert/strict";
import { GoldenImage, type GoldenImageArgs } from "../../components/golden-image.ts";
import type { BakeOrder } from "../../src/domain/images/bake.ts";
import { readBakeOrder } from "../../src/steps/image/order.ts";
import { graphOf, type Graph } from "../support/graph.ts";

const args: GoldenImageArgs = {
  definition: "images/ubuntu-24-04-rke2",
  vmid: 9100,
  vmIds: { first: 9100, last: 9199 },
  proofVmid: 9199,
  place: { host: "pve1", pool: "templates", storage: "ceph-vm", imageStorage: "images", bridge: "vmbr0" },
};
const base = "base-noble-20260725-d1940f7d69d34335.qcow2-pve1";
const image = "ubuntu-24-04-rke2-v1.0.0";

describe("a golden image", () => {
  let graph: Graph;
  let images: GoldenImage[];

  before(async () => {
    images = [];
    graph = await graphOf(() => {
      images.push(new GoldenImage("ubuntu", args));
    });
  });

  it("is baked when its base image is in the storage, by its digest", () => {
    assert.equal(images[0]?.image, image);
    assert.ok(graph.waitsFor(image, base));
    const { inputs, type } = graph.named(base);
    assert.equal(type, "proxmoxve:download/file:File");
    assert.deepEqual(
      [inputs.contentType, inputs.overwrite, inputs.checksumAlgorithm, inputs.datastoreId, inputs.nodeName],
      ["import", false, "sha256", "images", "pve1"],
    );
    assert.match(String(inputs.checksum), /^d1940f7d69d34335/);
    assert.equal(inputs.fileName, "noble-20260725-d1940f7d69d34335.qcow2");
  });

  it("shares its base image within a stack, and not with another one of the process", async () => {
    const again = await graphOf(() => {
      for (const vmid of [9100, 9101]) new GoldenImage(`image-${vmid}`, { ...args, vmid, proofVmid: vmid + 50 });
    });
    assert.equal(again.resources.filter(({ name }) => name === base).length, 1);
  });

  it("gives its step an order that the step reads, with paths from the program's folder on", () => {
    const { inputs } = graph.named(image);
    assert.deepEqual([inputs.create, inputs.update, inputs.delete], ["bake", "bake", undefined]);
    const order: BakeOrder = readBakeOrder(inputs.environment as Record<string, string>);
    assert.deepEqual([order.folder, order.shell, order.evidence], ["images/ubuntu-24-04-rke2", "images/bake", "bakes"]);
    assert.equal(order.base, "images:import/noble-20260725-d1940f7d69d34335.qcow2");
    assert.deepEqual([order.place.cores, order.place.memoryMiB, order.range], [2, 4096, args.vmIds]);
    assert.match(order.digest, /^[0-9a-f]{64}$/);
  });

  const wrong: [what: string, changes: object, says: RegExp][] = [
    ["an unknown argument", { vmId: 1 }, /vmId/],
    ["no host", { place: { ...args.place, host: "" } }, /place\.host/],
    [
      "an option in the name of a storage",
      { place: { ...args.place, storage: "local:0,media=cdrom" } },
      /place\.storage/,
    ],
    [
      "an address without its network",
      { place: { ...args.place, address: { cidr: "10.0.0.9", gateway: "10.0.0.1", nameservers: [] } } },
      /place\.address\.cidr/,
    ],
    ["a clone beside the VMIDs of bakes", { proofVmid: 9200 }, /VM 9200 cannot be the clone[^]*proofVmid/],
    ["a clone with the template's VMID", { proofVmid: 9100 }, /VM 9100 cannot be the clone/],
    ["a definition that is none", { definition: "images/bake" }, /has no image\.yaml/],
  ];
  for (const [what, changes, says] of wrong)
    it(`is refused with ${what}, by the path of the argument`, async () => {
      const attempt = graphOf(() => {
        new GoldenImage("odd", { ...args, ...changes });
      });
      await assert.rejects(attempt, (error: unknown) => error instanceof Error && says.test(error.message));
    });
});
