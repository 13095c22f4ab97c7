import assert from "node:assert/strict";
import { parseMembers } from "../../../src/clients/kubernetes/etcd-members.ts";

const voter = { ID: 1, name: "demo-servers-0-aaaaaaaa-0f1e2d3c", peerURLs: ["https://10.0.0.1:2380"], clientURLs: [] };

describe("members of etcd as RKE2's supervisor lists them", () => {
  it("are named after their Nodes, and after their address while they have not started", () => {
    const unstarted = { ID: 2, peerURLs: ["https://10.0.0.2:2380"], isLearner: true };
    assert.deepEqual(parseMembers(JSON.stringify({ members: [voter, unstarted] })), [
      { node: "demo-servers-0-aaaaaaaa", learner: false, started: true },
      { node: "10.0.0.2", learner: true, started: false },
    ]);
  });

  for (const [title, text] of [
    ["an empty list, for whoever answers is a member", `{"members":[]}`],
    ["no list", "{}"],
    ["a member without name and address", `{"members":[{"ID":1}]}`],
    ["a name that is no text", `{"members":[{"name":7,"peerURLs":[]}]}`],
    ["no JSON", "<html>"],
  ] as const) {
    it(`are not known from ${title}`, () => assert.equal(parseMembers(text), undefined));
  }
});
