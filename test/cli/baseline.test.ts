import assert from "node:assert/strict";
import { baselineText } from "../../cli/baseline.ts";
import type { NodeBaseline } from "../../src/domain/images/baseline.ts";

const node = (slot: number, changes: Partial<NodeBaseline> = {}): NodeBaseline => ({
  ...{ pool: "workers", name: `demo-workers-${slot}-1a2b3c4d`, vmid: 1100 + slot, host: "pve1" },
  image: "ubuntu-24.04-rke2-v1.1.0",
  rke2: { image: "v1.34.4+rke2r1", running: "v1.34.4+rke2r1" },
  kernel: { running: "6.8.0-71-generic", installed: "6.8.0-71-generic" },
  rebootPending: false,
  packagesFrom: "record",
  packages: [],
  drift: [],
  ...changes,
});

describe("evergreen baseline", () => {
  it("says each difference once, with the nodes that have it, the heaviest first", () => {
    const reboot = { weight: "owed", what: "a reboot is pending: libc6", todo: "reboot the node" } as const;
    const silent = { weight: "unknown", what: "its guest cannot be read: off", todo: "look at its VM" } as const;
    const { kernel, rebootPending, packagesFrom, ...unread } = node(2, { drift: [silent] });
    assert.ok(kernel && rebootPending === false && packagesFrom);
    const nodes = [node(0, { rebootPending: true, drift: [reboot] }), node(1, { drift: [reboot] }), unread, node(3)];
    assert.deepEqual(baselineText(nodes).split("\n"), [
      "node                     image                     RKE2            kernel            packages that differ  reboot",
      "demo-workers-0-1a2b3c4d  ubuntu-24.04-rke2-v1.1.0  v1.34.4+rke2r1  6.8.0-71-generic  0                     pending",
      "demo-workers-1-1a2b3c4d  ubuntu-24.04-rke2-v1.1.0  v1.34.4+rke2r1  6.8.0-71-generic  0                     -",
      "demo-workers-2-1a2b3c4d  ubuntu-24.04-rke2-v1.1.0  v1.34.4+rke2r1  ?                 ?                     ?",
      "demo-workers-3-1a2b3c4d  ubuntu-24.04-rke2-v1.1.0  v1.34.4+rke2r1  6.8.0-71-generic  0                     -",
      "not known:",
      "  its guest cannot be read: off",
      "    on: demo-workers-2-1a2b3c4d",
      "    do: look at its VM",
      "owed:",
      "  a reboot is pending: libc6",
      "    on: demo-workers-0-1a2b3c4d, demo-workers-1-1a2b3c4d",
      "    do: reboot the node",
      "1 of 4 nodes are as their images",
    ]);
  });

  it("says that there are no nodes", () => assert.equal(baselineText([]), "there are no nodes"));
});
