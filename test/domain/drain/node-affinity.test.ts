import assert from "node:assert/strict";
import { fitsNode, type NodeSelector } from "../../../src/domain/drain/node-affinity.ts";

const node = { name: "worker-1", labels: { "kubernetes.io/hostname": "worker-1", disk: "ssd", cores: "8" } };
const one = (key: string, operator: string, ...values: string[]): NodeSelector => ({
  nodeSelectorTerms: [{ matchExpressions: [{ key, operator, values }] }],
});
const field = (operator: string, ...values: string[]): NodeSelector => ({
  nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator, values }] }],
});
const all = (...terms: NodeSelector[]): NodeSelector => ({
  nodeSelectorTerms: [
    { matchExpressions: terms.flatMap((term) => term.nodeSelectorTerms?.[0]?.matchExpressions ?? []) },
  ],
});

/** As Kubernetes decides; the titles are what is asked of a node with host name worker-1, disk=ssd, cores=8. */
const table: [string, NodeSelector, boolean][] = [
  ["its host name", one("kubernetes.io/hostname", "In", "worker-1"), true],
  ["one of several host names", one("kubernetes.io/hostname", "In", "worker-0", "worker-1"), true],
  ["another's host name", one("kubernetes.io/hostname", "In", "worker-2"), false],
  ["a label that it has not", one("zone", "In", "a"), false],
  ["any host but another", one("kubernetes.io/hostname", "NotIn", "worker-2"), true],
  ["any host but itself", one("kubernetes.io/hostname", "NotIn", "worker-1"), false],
  ["no such value of a label that it has not", one("zone", "NotIn", "a"), true],
  ["a label that exists", one("disk", "Exists"), true],
  ["a label that does not exist", one("zone", "Exists"), false],
  ["the absence of a label that it has", one("disk", "DoesNotExist"), false],
  ["the absence of one that it has not", one("zone", "DoesNotExist"), true],
  ["more than 4 cores", one("cores", "Gt", "4"), true],
  ["more than 8 cores", one("cores", "Gt", "8"), false],
  ["less than 16 cores", one("cores", "Lt", "16"), true],
  ["more than 4 of what is no number", one("disk", "Gt", "4"), false],
  ["more than 4 of what it has not", one("gpus", "Gt", "4"), false],
  ["its name by field", field("In", "worker-1"), true],
  ["another name by field", field("In", "worker-2"), false],
  ["two things that both hold", all(one("disk", "In", "ssd"), one("cores", "Gt", "4")), true],
  ["two things of which one holds", all(one("disk", "In", "ssd"), one("zone", "Exists")), false],
  [
    "one of two terms",
    {
      nodeSelectorTerms: [
        ...(one("zone", "Exists").nodeSelectorTerms ?? []),
        ...(field("In", "worker-1").nodeSelectorTerms ?? []),
      ],
    },
    true,
  ],
  ["nothing in a term", { nodeSelectorTerms: [{}] }, false],
  ["no term", { nodeSelectorTerms: [] }, false],
];

describe("node affinity", () => {
  for (const [asked, selector, fits] of table)
    it(`${fits ? "fits" : "does not fit"} when it asks for ${asked}`, () => {
      assert.equal(fitsNode(selector, node, false), fits);
    });

  it("leaves it to the caller what an operator counts as that a later Kubernetes brings", () => {
    assert.equal(fitsNode(one("disk", "Like", "s*"), node, true), true);
    assert.equal(fitsNode(one("disk", "Like", "s*"), node, false), false);
  });
});
