import assert from "node:assert/strict";
import { readSite } from "../../src/observe/site-survey.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";

describe("the survey of a site", () => {
  const disks: [string, string | undefined, number | undefined][] = [
    ["whole GiB", "local:x,size=12G", 12],
    ["MiB", "local:x,size=3584M", 4],
    ["KiB", "local:x,size=4194305K", 5],
    ["whole GiB in KiB", "local:x,size=4194304K", 4],
    ["bytes", "local:x,size=4294967808", 5],
    ["TiB", "local:x,size=1T", 1024],
    ["nothing that is said", "local:x", undefined],
    ["another place", undefined, undefined],
  ];
  for (const [title, scsi0, diskGiB] of disks)
    it(`reads the size of a template's disk in ${title}`, async () => {
      await using pve = await fakeProxmox(({ path }) => {
        if (path === "/nodes") return { data: [{ node: "pve1", status: "online" }] };
        if (path === "/cluster/resources")
          return {
            data: [
              {
                ...{ type: "qemu", vmid: 9001, node: "pve1", name: "ubuntu-24.04-rke2-v1.0.0", template: 1 },
                ...{ status: "stopped", tags: "eg-image;rke2-v1.34.4+rke2r1" },
              },
            ],
          };
        return {
          data: path.endsWith("/config") ? { ...(scsi0 === undefined ? { virtio0: "local:x" } : { scsi0 }) } : [],
        };
      });
      const { templates } = await readSite(pve.client);
      assert.deepEqual(
        templates.map((template) => template.diskGiB),
        [diskGiB],
      );
    });
});
