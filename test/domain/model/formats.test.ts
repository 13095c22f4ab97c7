import assert from "node:assert/strict";
import { exitCodes } from "../../../cli/up.ts";
import { guest } from "../../../images/contract.ts";
import * as formats from "../../../src/domain/model/formats.ts";
import { variables } from "../../../src/domain/model/step-environment.ts";
import { verbs } from "../../../src/steps/verbs.ts";

/** A change here is a migration: clusters, states, templates and scripts have these names already. */
describe("what outlives a run", () => {
  const { leaseNames, recordMaps, clusterKeys, ...names } = formats;

  it("keeps its names", () => {
    assert.deepEqual(names, {
      typeTokens: {
        cluster: "evergreen:index:Cluster",
        nodePool: "evergreen:index:NodePool",
        slot: "evergreen:index:Slot",
        goldenImage: "evergreen:index:GoldenImage",
      },
      stepInterpreter: "./bin/step",
      namespace: "evergreen-system",
      labels: {
        cluster: "evergreen.dev/cluster",
        pool: "evergreen.dev/pool",
        slot: "evergreen.dev/slot",
        generation: "evergreen.dev/generation",
        server: "node-role.kubernetes.io/control-plane",
      },
      cordonedBy: "evergreen.dev/cordoned-by",
      emptiedBy: "evergreen.dev/emptied-by",
      leaving: { key: "evergreen.dev/leaving", effect: "PreferNoSchedule" },
      evictionRequestedBy: "evergreen.dev/eviction-requested-by",
      schedulingStoppedBy: "evergreen.dev/scheduling-stopped-by",
      vmTags: {
        ours: "evergreen",
        member: "eg-member",
        cluster: "eg-cluster-",
        generation: "eg-gen-",
        pool: "eg-pool-",
        slot: "eg-slot-",
        uid: "eg-uid-",
      },
      imageTags: { image: "eg-image", rke2: "rke2-", bake: "eg-bake" },
    });
  });

  it("keeps the names of leases and of the maps of the record", () => {
    assert.deepEqual(
      [leaseNames.update, leaseNames.slot("workers", 3), leaseNames.disruption("workers", 0)],
      ["update", "slot-workers-3", "ticket-workers-0"],
    );
    assert.deepEqual(
      [recordMaps.cluster, recordMaps.pool("workers"), recordMaps.slot("workers", 3)],
      ["cluster", "pool-workers", "slot-workers-3"],
    );
    assert.deepEqual(
      [
        ...[clusterKeys.goingAway, clusterKeys.servers, clusterKeys.slots("db"), clusterKeys.maxUnavailable("db")],
        clusterKeys.tags("db"),
      ],
      ["goingAway", "servers", "slots.db", "maxUnavailable.db", "tags.db"],
    );
  });

  it("keeps the words and the variables of steps, in the state of every stack", () => {
    assert.deepEqual(Object.keys(verbs).sort(), [
      ...[
        "bake",
        "claim",
        "gate",
        "guard",
        "handover",
        "join",
        "prove",
        "registries",
        "release",
        "retain",
        "retire",
        "rollout",
      ],
      ...["snapshot", "unguard", "verify"],
    ]);
    assert.deepEqual(Object.values(variables).sort(), [
      ...["EVERGREEN_ADDRESS", "EVERGREEN_ADDRESS6", "EVERGREEN_ALLOW_DESTROY", "EVERGREEN_BACKUP", "EVERGREEN_BAKE"],
      ...[
        "EVERGREEN_CLUSTER",
        "EVERGREEN_DUE",
        "EVERGREEN_GENERATION",
        "EVERGREEN_IMAGE_KEY",
        "EVERGREEN_MADE_VMID",
        "EVERGREEN_NODE",
        "EVERGREEN_PLAN",
      ],
      ...[
        "EVERGREEN_POOL",
        "EVERGREEN_PROOF",
        "EVERGREEN_REGISTRIES",
        "EVERGREEN_ROLE",
        "EVERGREEN_ROLLOUT",
        "EVERGREEN_SITE",
      ],
      ...["EVERGREEN_SLOT", "EVERGREEN_SPEC", "EVERGREEN_STRATEGY", "EVERGREEN_UNREACHABLE"],
      ...["EVERGREEN_VERDICT", "EVERGREEN_VMID"],
    ]);
  });

  it("keeps the files of a guest, in every image, and the exit codes, in every script", () => {
    assert.deepEqual(Object.values(guest), [
      "/etc/evergreen/image.json",
      "/etc/evergreen/join.yaml",
      "/etc/evergreen/join.ready",
      "/etc/evergreen/yield",
      "/etc/evergreen/yielded",
      "/etc/evergreen/registries.yaml",
      "/etc/evergreen/registry-",
      "/etc/evergreen/registries.reload",
      "/etc/evergreen/registries.loaded",
      "/etc/evergreen/registries.failed",
      "/var/log/evergreen/join.log",
      "/etc/rancher/rke2/config.yaml",
      "/etc/rancher/rke2/rke2.yaml",
      "/var/lib/rancher/rke2/server/token",
      "/var/lib/rancher/rke2/server/db/etcd/name",
    ]);
    assert.deepEqual(exitCodes, { done: 0, failed: 1, paused: 10, held: 11, rolledBack: 12 });
  });
});
