import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { proveGone } from "../../../src/clients/kubernetes/gone.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
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

  it("is gone once its Node is found not Ready: that takes a while after its VM went", async () => {
    node("True");
    setTimeout(() => node("Unknown"), 50);
    assert.ok(await proof("free"));
  });
});
