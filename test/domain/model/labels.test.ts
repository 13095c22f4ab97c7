import assert from "node:assert/strict";
import { isRestricted, owedLabels, registrable } from "../../../src/domain/model/labels.ts";

describe("labels of a node", () => {
  const cases: [label: string, restricted: boolean][] = [
    ["tier", false],
    ["example.org/tier", false],
    ["notkubernetes.io/tier", false],
    ["node.kubernetes.io/instance-type", false],
    ["kubelet.kubernetes.io/x", false],
    ["sub.node.kubernetes.io/x", false],
    ["topology.kubernetes.io/zone", false],
    ["topology.kubernetes.io/region", false],
    ["topology.kubernetes.io/rack", true],
    ["sub.topology.kubernetes.io/zone", true],
    ["failure-domain.beta.kubernetes.io/zone", false],
    ["failure-domain.beta.kubernetes.io/rack", true],
    ["beta.kubernetes.io/instance-type", false],
    ["beta.kubernetes.io/fluentd-ds-ready", true],
    ["topology.k8s.io/zone", true],
    ["node-role.kubernetes.io/worker", true],
    ["node-restriction.kubernetes.io/trusted", true],
    ["kubernetes.io/x", true],
    ["scheduler.alpha.k8s.io/x", true],
  ];
  for (const [label, restricted] of cases)
    it(`${restricted ? "cannot" : "can"} be set by its own kubelet: ${label}`, () =>
      assert.equal(isRestricted(label), restricted));

  it("registers with those alone that its kubelet may set", () => {
    assert.deepEqual(registrable({ tier: "web", "node-role.kubernetes.io/worker": "" }), { tier: "web" });
  });

  it("owes what is missing or has another value, and nothing of anybody else", () => {
    assert.deepEqual(owedLabels({ a: "1", b: "2", theirs: "3" }, { a: "1", b: "x", c: "" }), { b: "x", c: "" });
    assert.deepEqual(owedLabels(undefined, { a: "1" }), { a: "1" });
    assert.deepEqual(owedLabels({ a: "1" }, { a: "1" }), {});
  });
});
