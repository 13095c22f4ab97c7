import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { proveGone } from "../../../src/clients/kubernetes/gone.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import { nodeNameIn, tagsOf } from "../../../src/clients/proxmox/tags.ts";
import { fakeProxmox } from "../proxmox/fake.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

const vm = { name: "demo-workers-0-0a1b2c3d", vmid: 1100 };

describe("a node whose VM is not in the list", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const node = (ready: string) =>
    cluster.put(paths.nodes, {
      metadata: { name: vm.name },
      status: { conditions: [{ type: "Ready", status: ready }] },
    });
  const proof = async (number: "free" | "taken" | "unreadable") => {
    await using pve = await fakeProxmox(() => {
      if (number === "free") return { data: "1100" };
      if (number === "taken") return { status: 400, reason: "Bad", errors: { vmid: "VM 1100 already exists" } };
      return { status: 403, reason: "Permission check failed" };
    });
    return await proveGone(pve.client, client, vm, { seconds: 0.3 });
  };

  for (const [title, ready, number, outcome] of [
    ["somebody has its number", "False", "taken", /VM 1100 of demo-workers-0-0a1b2c3d exists, and the token cannot/],
    ["nobody says whether somebody has its number", "False", "unreadable", /Permission check failed/],
    ["its Node is Ready", "True", "free", /the Node demo-workers-0-0a1b2c3d is Ready although VM 1100 is gone/],
    ["its number is free and its kubelet is silent", "Unknown", "free", undefined],
    ["its number is free and its Node is not Ready", "False", "free", undefined],
    ["its number is free and it has no Node", undefined, "free", undefined],
  ] as const) {
    it(`is ${outcome ? "not gone" : "gone"} when ${title}`, async () => {
      if (ready !== undefined) node(ready);
      if (outcome) await assert.rejects(proof(number), outcome);
      else assert.equal((await proof(number))?.metadata?.name, ready === undefined ? undefined : vm.name);
    });
  }

  const own = "0f1e2d3c-4b5a-4978-8675-645342312011";
  const other = "ffffffff-4b5a-4978-8675-645342312011";
  const another = { cluster: "demo", pool: "workers", slot: 3, generation: "0badcafe" };
  for (const [title, tags, name, uuid, outcome] of [
    ["another node's VM has its number", another, nodeNameIn(another), other, undefined],
    ["a stranger's VM has its number", undefined, "web", other, /exists, and the token cannot see it/],
    [
      "a VM has its number with the same uuid",
      another,
      nodeNameIn(another),
      own,
      /exists, and the token cannot see it/,
    ],
    ["a VM has its number with the same name", another, vm.name, other, /exists, and the token cannot see it/],
    ["a VM has its number with no uuid", another, nodeNameIn(another), "", /exists, and the token cannot see it/],
    [
      "its own VM was renamed, and has another uuid",
      { ...another, slot: 0, generation: "0a1b2c3d" },
      "renamed",
      other,
      /exists, and the token cannot see it/,
    ],
  ] as const)
    it(`is ${outcome ? "not gone" : "gone"} when ${title}`, async () => {
      const all = tags === undefined ? "" : tagsOf(tags).join(";");
      await using pve = await fakeProxmox(({ path }) => {
        if (path === "/cluster/resources")
          return { data: [{ type: "qemu", vmid: 1100, node: "pve1", name, status: "running", tags: all }] };
        if (path.endsWith("/config")) return { data: { name, smbios1: `uuid=${uuid}`, tags: all, digest: "d" } };
        return { status: 400, reason: "Bad", errors: { vmid: "VM 1100 already exists" } };
      });
      const proof = proveGone(pve.client, client, { ...vm, uuid: own }, { seconds: 0.3 });
      if (outcome) await assert.rejects(proof, outcome);
      else assert.equal(await proof, undefined);
    });

  it("is gone once its Node is found not Ready: that takes a while after its VM went", async () => {
    node("True");
    setTimeout(() => node("Unknown"), 50);
    assert.ok(await proof("free"));
  });
});
