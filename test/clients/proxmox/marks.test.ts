import assert from "node:assert/strict";
import { mark, unmark } from "../../../src/clients/proxmox/marks.ts";
import { tagsOf } from "../../../src/clients/proxmox/tags.ts";
import type { Proxmox } from "../../../src/clients/proxmox/client.ts";
import { fakeProxmox } from "./fake.ts";

const node = { cluster: "demo", pool: "workers", slot: 1, generation: "0a1b2c3d" };
const ours = tagsOf(node);
const uuid = "6b0124f9-0000-4000-8000-000000000302";
const vm = { vmid: 302, name: "kube-a", uuid, tags: [] };

/** @returns what was written to an adopted VM with these tags: undefined when nothing was */
async function written(tags: string[], work: (pve: Proxmox) => Promise<void>) {
  const data = { name: vm.name, smbios1: `uuid=${uuid}`, tags: tags.join(";"), digest: "d1" };
  await using pve = await fakeProxmox(({ method }) => ({ data: method === "GET" ? data : null }));
  await work(pve.client);
  return pve.seen.find(({ method }) => method === "PUT")?.parameters;
}

describe("our tags on an adopted VM", () => {
  for (const [title, tags, change] of [
    ["go, and those of others stay", ["backup", ...ours, "prod"], { tags: "backup;prod", digest: "d1" }],
    ["go when there are no others", ours, { delete: "tags", digest: "d1" }],
    ["are not there: nothing is written", ["backup"], undefined],
  ] as const) {
    it(title, async () => {
      assert.deepEqual(await written([...tags], (pve) => unmark(pve, "pve1", vm)), change);
    });
  }

  it("come beside those of others", async () => {
    const change = await written(["backup"], (pve) => mark(pve, "pve1", vm, node));
    assert.deepEqual(change, { tags: ["backup", ...ours].join(";"), digest: "d1" });
  });

  it("do not come beside others of ours: somebody else may manage that VM", async () => {
    const other = tagsOf({ ...node, cluster: "other" });
    await assert.rejects(
      written(other, (pve) => mark(pve, "pve1", vm, node)),
      /has tags of ours already: eg-cluster-other/,
    );
  });
});
