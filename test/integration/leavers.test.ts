import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import type { ListedVm } from "../../src/clients/proxmox/vms.ts";
import type { NodeRecord, SlotPhase } from "../../src/domain/model/types.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { findOtherNodes, withoutCopies } from "../../src/steps/node/departing-nodes.ts";

const identity = { cluster: "demo", pool: "workers", slot: 0, generation: "0a1b2c3d" };
const name = "demo-workers-0-0a1b2c3d";

/** A VM with the name and the tags of the node, under whatever number. */
const vm = (vmid: number): ListedVm => ({
  vmid,
  host: "pve1",
  name,
  status: "stopped",
  template: false,
  tags: tagsOf(identity),
  pool: "nodes",
});
const own = (vmid: number, phase: SlotPhase): NodeRecord => ({
  name,
  slot: 0,
  generation: identity.generation,
  vmid,
  uuid: "6b0124f9-0000-4000-8000-000000000101",
  phase,
  since: "2026-01-01T00:00:00Z",
});

describe("the VM of a node among copies that were restored beside it", () => {
  for (const [when, there, records, stays] of [
    ["nobody remembers it", [1100], [], [1100]],
    ["it has the number that is remembered", [1050, 1100], [own(1100, "handedOver")], [1100]],
    ["it was only made", [1050, 1100], [own(1100, "made")], [1100]],
    ["it is gone, and was not retired", [1050], [own(1100, "handedOver")], []],
    ["it was retired, and is still there", [1050, 1100], [own(1100, "retired")], [1100]],
    ["it was retired and destroyed, and its name comes back", [1101], [own(1100, "retired")], [1101]],
  ] as [string, number[], NodeRecord[], number[]][])
    it(`is ${stays.join() || "none of them"} of ${there.join(" and ")} when ${when}`, () => {
      const left = withoutCopies(there.map(vm), { pool: "workers", generations: [], nodes: records });
      assert.deepEqual(
        left.map(({ vmid }) => vmid),
        stays,
      );
    });
});

describe("the others of a slot", () => {
  const client = { list: () => Promise.resolve({ items: [] }) } as unknown as Kubernetes;
  const input = { ...identity, node: "demo-workers-0-bbbbbbbb", generation: "bbbbbbbb", role: "agent" };
  const record = { pool: "workers", generations: [], nodes: [own(1100, "handedOver")] };

  for (const [what, changes, found] of [
    ["the VM that had it", {}, 1],
    ["no VM of another Proxmox pool", { pool: "billing" }, 0],
    ["no template", { template: true }, 0],
    ["no VM of another slot", { tags: tagsOf({ ...identity, slot: 1 }) }, 0],
    ["no VM of another cluster", { tags: tagsOf({ ...identity, cluster: "prod" }) }, 0],
    ["not the node itself", { tags: tagsOf({ ...identity, generation: "bbbbbbbb" }) }, 0],
  ] as [string, Partial<ListedVm>, number][])
    it(`are ${what}`, async () => {
      const slot = { ...input, site: { proxmoxPool: "nodes" } } as SlotInput;
      assert.equal((await findOtherNodes(client, slot, [{ ...vm(1100), ...changes }], record)).length, found);
    });
});
