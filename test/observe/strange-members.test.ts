import assert from "node:assert/strict";
import { requireRemembered } from "../../src/observe/strange-members.ts";
import type { Proxmox } from "../../src/clients/proxmox/client.ts";
import type { NodeRecord, ObservedVm } from "../../src/domain/model/types.ts";

const uuid = "11111111-1111-4111-8111-111111111111";
const member: ObservedVm = {
  ...{ vmid: 1100, name: "demo-workers-0-0a1b2c3d", host: "pve1", running: false, uuid },
  ...{ pool: "workers", slot: 0, generation: "0a1b2c3d" },
};
const bare: ObservedVm = { ...member, lacksMemberTag: true };
const uid = "0f1e2d3c-4b5a-4978-8675-645342312011";

describe("a cluster that answers beside VMs without the tag of its uid", () => {
  const ask = async (vm: ObservedVm, { nodes = [] as string[], recorded = [] as string[], answers = uid } = {}) => {
    const made = recorded.map((one): NodeRecord => ({ ...bare, uuid: one, phase: "joined", since: "" }));
    const records = [{ pool: "workers", nodes: made, generations: [] }];
    const memory = { records, nodes: nodes.map((one) => ({ uuid: one })) };
    await requireRemembered({} as unknown as Proxmox, [vm], { cluster: "demo", uid: answers, server: 1000, ...memory });
  };

  for (const [title, vm] of [
    ["runs", { ...bare, running: true }],
    ["starts with its host", { ...bare, onBoot: true }],
    ["was started and never decommissioned", member],
  ] as const) {
    it(`does nothing when it does not remember one that ${title}`, async () => {
      const says =
        /a VM runs or ran for a cluster demo.*\n.*demo-workers-0-0a1b2c3d \(VM 1100 on pve1\).*\n.*the tag eg-uid-0f1e2d3c/;
      await assert.rejects(ask(vm), says);
      await assert.rejects(ask(vm, { answers: "" }), /run again once it has a uid/);
      await assert.rejects(ask(vm, { nodes: [""], recorded: ["another"] }), says);
    });

    it(`is theirs when it remembers one that ${title}`, async () => {
      await ask(vm, { nodes: [uuid] });
      await ask(vm, { recorded: [uuid] });
    });

    it(`is known by the tag of one that ${title}, or by the kubeconfig of it`, async () => {
      await ask({ ...vm, uidTag: "eg-uid-0f1e2d3c" });
      await ask({ ...vm, vmid: 1000 });
    });
  }

  it("need not remember one that has never run, that a first creation has left, or whose host is silent", async () => {
    await ask(bare);
    await ask({ ...member, pool: "servers" });
    await assert.rejects(ask({ ...member, pool: "servers", slot: 1 }), /remembers none of them/);
    await ask({ ...member, unreachable: "no answer", uuid: "" });
  });
});
