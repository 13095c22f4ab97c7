import assert from "node:assert/strict";
import type { Access } from "../../src/clients/kubernetes/access.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { readSlotRecord } from "../../src/clients/kubernetes/record.ts";
import type { VmConfig } from "../../src/clients/proxmox/vms.ts";
import type { NodeRecord } from "../../src/domain/model/types.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { remember } from "../../src/steps/verbs/claim.ts";
import { freshCluster } from "../clients/kubernetes/fake.ts";

const place = { slot: 0, generation: "0a1b2c3d", vmid: 1100 };
const keeps = [{ claim: "shop/data-web-0", size: "10Gi" }];
const own: NodeRecord = {
  ...place,
  name: "demo-workers-0-0a1b2c3d",
  uuid: "uuid-1100",
  phase: "retired",
  since: "2026-01-01T00:00:00Z",
  keeps,
};

describe("what a claim remembers of a node that comes back", () => {
  let client: Kubernetes;
  freshCluster((_, itsClient) => (client = itsClient));

  /** @returns what is recorded of it then */
  const remembered = async (before: NodeRecord, uuid: string): Promise<NodeRecord | undefined> => {
    const input = { ...place, node: own.name, pool: "workers", spec: {} } as unknown as SlotInput;
    const view = { node: undefined, own: before, record: { pool: "workers", generations: [], nodes: [before] } };
    await remember(input, { client } as Access, view, { uuid } as VmConfig);
    return (await readSlotRecord(client, "workers", 0)).nodes[0];
  };

  it("is the data on its VM, which no release may destroy", async () => {
    const { phase, keeps: kept } = (await remembered(own, own.uuid)) ?? {};
    assert.deepEqual([phase, kept], ["made", keeps]);
  });

  it("is no data when it has another VM", async () => {
    const { uuid, keeps: kept } = (await remembered(own, "uuid-1101")) ?? {};
    assert.deepEqual([uuid, kept], ["uuid-1101", undefined]);
  });

  it("is what it was while it is a member", async () => {
    const member: NodeRecord = { ...own, phase: "handedOver" };
    assert.deepEqual(await remembered(member, own.uuid), member);
  });
});
