import assert from "node:assert/strict";
import type { Access } from "../../../src/clients/kubernetes/access.ts";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { AnotherCluster, requireOwnCluster } from "../../../src/clients/kubernetes/own-cluster.ts";
import { tagsOf } from "../../../src/clients/proxmox/tags.ts";
import type { ListedVm } from "../../../src/clients/proxmox/vms.ts";

const uid = "0f1e2d3c-4b5a-4978-8675-645342312011";
const [own, another] = ["eg-uid-0f1e2d3c", "eg-uid-ffffffff"];

const vm = (vmid: number, more: readonly string[], { cluster = "demo", template = false } = {}): ListedVm => ({
  ...{ vmid, name: `vm-${vmid}`, host: "pve1", status: "stopped", template, pool: "evergreen" },
  tags: [...tagsOf({ cluster, pool: "workers", slot: 0, generation: "0a1b2c3d" }), ...more],
});

const ask = async (vms: readonly ListedVm[], answers: string | undefined = uid): Promise<string> => {
  const found = answers === "" ? undefined : { metadata: { uid: answers } };
  const client = { find: () => Promise.resolve(found) } as unknown as Kubernetes;
  return await requireOwnCluster(
    { client, server: vm(1000, []) } satisfies Pick<Access, "client" | "server">,
    vms,
    "demo",
  );
};

describe("the cluster that answers", () => {
  for (const [title, vms] of [
    ["have its uid", [vm(1, [own]), vm(2, [own, "hand"])]],
    ["have none, as from an earlier version", [vm(1, []), vm(2, [own])]],
    ["are of a cluster with another name", [vm(1, [another], { cluster: "prod" })]],
    ["are templates", [vm(1, [another], { template: true })]],
    [
      "have only some of our tags",
      [vm(1, [another]), vm(2, [])].map((one) => ({ ...one, tags: ["evergreen", another] })),
    ],
  ] as const)
    it(`is that of VMs which ${title}`, async () => {
      assert.equal(await ask(vms), uid);
    });

  it("has no uid before its first moment is over, and VMs have none either", async () => {
    assert.equal(await ask([vm(1, [])], ""), "");
  });

  for (const [title, vms, answers, says] of [
    [
      "another uid",
      [vm(1, [another]), vm(2, [own])],
      uid,
      /than that of a VM of this name.*\n.*vm-1 \(VM 1 on pve1\) has eg-uid-f/,
    ],
    ["its uid and another one", [vm(1, [own, another])], uid, /VM 1 on pve1\) has eg-uid-ffffffff;/],
    ["a uid while it names none", [vm(1, [own]), vm(2, [own])], "", /of 2 VMs of this name[^]* kube-system is none/],
  ] as const)
    it(`is another one than that of VMs which have ${title}`, async () => {
      await assert.rejects(ask(vms, answers), (error: unknown) => {
        assert.ok(error instanceof AnotherCluster);
        assert.match(error.message, says);
        return true;
      });
    });

  it("is named by the tag with which people consent to it, unless it has no uid", async () => {
    const says = /each of these VMs that runs for it gets the tag eg-uid-0f1e2d3c in the place of its own/;
    await assert.rejects(ask([vm(1, [another])]), says);
    await assert.rejects(ask([vm(1, [own])], ""), (error: Error) => !error.message.includes("gets the tag"));
  });
});
