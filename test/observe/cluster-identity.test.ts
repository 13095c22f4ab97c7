import assert from "node:assert/strict";
import { refuseAnotherCluster } from "../../src/observe/cluster-identity.ts";
import { UserErrors } from "../../src/runtime/errors.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import type { ListedVm } from "../../src/clients/proxmox/vms.ts";
import { smallConfig } from "../support/picture.ts";

/** A node of a cluster, in a Proxmox pool. The small site has the ranges 1000-1009 and 1100-1109, and the pool `nodes`. */
function node(vmid: number, cluster: string, pool: string | undefined = "nodes"): ListedVm {
  const tags = tagsOf({ cluster, pool: "workers", slot: 0, generation: "0a1b2c3d" });
  const name = `${cluster}-workers-0-0a1b2c3d`;
  return { vmid, name, host: "pve1", pool, tags, status: "running", template: false } as unknown as ListedVm;
}

describe("what lives in the place of a configuration", () => {
  const stranger = { ...node(1101, "x"), tags: ["database"] };
  const template = { ...node(1101, "other"), template: true };
  const cases: [string, ListedVm[], RegExp | undefined][] = [
    ["nothing lives", [], undefined],
    ["its own nodes live", [node(1000, "demo"), node(1101, "demo")], undefined],
    ["another cluster of the same pool has ranges of its own", [node(2000, "other")], undefined],
    [
      "the cluster was renamed",
      [node(1000, "old"), node(1101, "old")],
      /2 VMs .* nodes of the cluster old, .* is demo\n.*VM 1000 \(old-/,
    ],
    [
      "a number of the range is a node of another cluster beside its own",
      [node(1000, "demo"), node(1101, "other")],
      undefined,
    ],
    ["a stranger without our tags has a number of the range", [stranger], undefined],
    ["a template has a number of the range", [template], undefined],
    [
      "the Proxmox pool was changed",
      [node(1000, "demo", "other")],
      /all 1 nodes .* in the Proxmox pool other, .* is nodes\n.*\n.*--vms 1000/,
    ],
    ["one VM was moved by hand", [node(1000, "demo", "other"), node(1101, "demo")], undefined],
  ];
  for (const [when, list, refusal] of cases) {
    it(`${refusal ? "is refused" : "is taken as it is"} when ${when}`, () => {
      const check = () => refuseAnotherCluster(smallConfig(), list);
      if (refusal) assert.throws(check, (error) => error instanceof UserErrors && refusal.test(error.message));
      else check();
    });
  }
});
