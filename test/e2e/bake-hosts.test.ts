import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { site as places } from "../../lab/proxmox/site.ts";
import { labSources } from "../../lab/web.ts";
import { keyPair } from "../evidence/image.ts";
import { imageYaml, LAB_RKE2 } from "./lab-image.ts";
import { killTree } from "./processes.ts";
import { Site, untilSaid } from "./site.ts";

describe("a stack that bakes an image on two hosts without shared storage, end to end", function () {
  this.timeout(400_000);
  const key = keyPair();
  const image = "lab-image-v1.0.0";
  const environment = { EVERGREEN_IMAGE_KEY: key.privateKey };
  const update = ["up", "--yes", "--skip-preview", "--stack", "dev"];
  let site: Site;

  before(async () => {
    site = await Site.create("127.112", { hosts: ["pve1", "pve2"] });
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "site.hosts": ["pve1", "pve2"] });
    await site.up();
    const folder = join(site.project, "images", image);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "image.yaml"), imageYaml("v1.0.0", [], LAB_RKE2));
  });

  after(async () => {
    await site.close();
  });

  const bakeOn = async (...hosts: string[]): Promise<void> =>
    site.configure({
      "pools.0.image": image,
      "pools.0.diskGiB": 12,
      images: {
        keys: [{ name: "site", publicKey: key.publicKey, from: "2026-01-01" }],
        bakes: {
          images: hosts.map((host, i) => ({ image, host, vmid: 9500 + i, proofVmid: 9550 + i })),
          range: { first: 9500, last: 9599 },
          place: { host: "pve1", imageStorage: places.imageStorage },
          sources: { snapshots: labSources.snapshots, rke2: labSources.rke2 },
        },
      },
    });

  it("is refused with an image of one host, before anything is made", async () => {
    await bakeOn("pve1");
    const before = await site.vms("workers");
    const { code, output } = await site.pulumi(update, environment);
    assert.notEqual(code, 0);
    assert.match(output, /the template lab-image-v1\.0\.0 is not on pve2, and the storage local is not shared/);
    assert.deepEqual(await site.vms("workers"), before);
    const { vms } = await site.lab.status;
    assert.ok(!vms.some(({ vmid }) => vmid >= 9500 && vmid < 9600));
  });

  it("bakes and proves it on each, goes on where it was killed, and clones each node from its own host", async () => {
    await bakeOn("pve1", "pve2");
    const before = await site.vms("workers");
    const run = site.start(update, environment);
    await untilSaid(run, /VM 9501 is made on pve2/);
    await killTree(run.pid);
    await run.ended;
    assert.deepEqual(await site.vms("workers"), before);
    const ran = await site.startLauncher(update, environment).ended;
    assert.equal(ran.code, 0, ran.output);
    const { vms } = await site.lab.status;
    const own = vms.filter(({ vmid }) => vmid >= 9500 && vmid < 9600);
    assert.deepEqual(
      own.map(({ vmid, name, node, template }) => [vmid, name, node, template]),
      [
        [9500, image, "pve1", true],
        [9501, image, "pve2", true],
      ],
    );
    const workers = vms.filter(({ tags }) => tags.includes("eg-pool-workers"));
    assert.deepEqual(workers.map((vm) => [vm.node, vm.image]).toSorted(), [
      ["pve1", image],
      ["pve2", image],
    ]);
    const again = await site.pulumi([...update, "--expect-no-changes"], environment);
    assert.equal(again.code, 0, again.output);
  });
});
