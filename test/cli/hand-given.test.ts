import assert from "node:assert/strict";
import { parse } from "yaml";
import { findHandGiven, withHandGiven } from "../../cli/hand-given.ts";
import { readConfig } from "../../src/config/config.ts";
import type { HandNode } from "../../src/domain/drain/by-hand.ts";
import { minimal } from "../support/config.ts";

const config = readConfig(minimal({ labels: { tier: "web" }, taints: ["gpu=yes:NoSchedule"] }));

/** A node whose labels and taints somebody has set with kubectl, beside those of its pool. */
const node = (name: string, labels: Record<string, string>, taints: [string, string][] = []): HandNode => ({
  metadata: { name, labels: { tier: "web", "kubernetes.io/hostname": name, ...labels } },
  spec: {
    taints: [{ key: "gpu", value: "yes", effect: "NoSchedule" }, ...taints.map(([key, effect]) => ({ key, effect }))],
  },
});
const find = (...workers: HandNode[]) => findHandGiven(config, (pool) => (pool === "workers" ? workers : []));

describe("labels and taints that were given by hand", () => {
  it("are adopted when all nodes of a pool have them, and named otherwise", () => {
    const found = find(
      node("a", { rack: "r1", disk: "ssd" }, [["dedicated", "NoSchedule"]]),
      node("b", { rack: "r1" }, [
        ["dedicated", "NoSchedule"],
        ["old", "NoExecute"],
      ]),
    );
    assert.deepEqual(found, [
      {
        pool: "workers",
        labels: { rack: "r1" },
        taints: ["dedicated:NoSchedule"],
        ofSome: ["label disk=ssd (a)", "taint old:NoExecute (b)"],
      },
    ]);
  });

  it("are none where nodes have what the configuration and the system give", () => {
    assert.deepEqual(find(node("a", {}), node("b", {})), []);
  });

  it("of different values are named for each", () => {
    const [found] = find(node("a", { rack: "r1" }), node("b", { rack: "r2" }));
    assert.deepEqual([found?.labels, found?.ofSome], [{}, ["label rack=r1 (a)", "label rack=r2 (b)"]]);
  });

  it("are written beside what a pool has, with its comments", () => {
    const text = `config:
  evergreen:cluster: demo
  evergreen:pools:
    # The first.
    - name: workers # ours
      labels: { tier: web }
`;
    const found = [{ pool: "workers", labels: { rack: "r1" }, taints: ["dedicated:NoSchedule"], ofSome: [] }];
    const written = withHandGiven(text, config, found, "Pulumi.demo.yaml");
    assert.match(written, /# The first\.\n {4}- name: workers # ours/);
    const { config: made } = parse(written) as { config: Record<string, unknown> };
    assert.deepEqual(made["evergreen:pools"], [
      { name: "workers", labels: { tier: "web", rack: "r1" }, taints: ["dedicated:NoSchedule"] },
    ]);
    assert.throws(
      () => withHandGiven("config:\n  evergreen:pools: '[]'\n", config, found, "Pulumi.demo.yaml"),
      /workers cannot be written/,
    );
  });
});
