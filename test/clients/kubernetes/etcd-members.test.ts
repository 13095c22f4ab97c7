import assert from "node:assert/strict";
import { mayBeCalled, parseMembers } from "../../../src/clients/kubernetes/etcd-members.ts";

const voter = { ID: 1, name: "demo-servers-0-aaaaaaaa-0f1e2d3c", peerURLs: ["https://10.0.0.1:2380"], clientURLs: [] };

describe("members of etcd as RKE2's supervisor lists them", () => {
  it("are named after their Nodes, and after their address while they have not started", () => {
    const unstarted = { ID: 2, peerURLs: ["https://10.0.0.2:2380"], isLearner: true };
    assert.deepEqual(parseMembers(JSON.stringify({ members: [voter, unstarted] })), [
      { node: "demo-servers-0-aaaaaaaa", name: voter.name, learner: false, started: true },
      { node: "10.0.0.2", learner: true, started: false },
    ]);
  });

  it("may be called by any address that their VM was made with, while they have not started", () => {
    const unstarted = { ID: 2, peerURLs: ["https://[FD00:0::B]:2380"], isLearner: true };
    const [, member] = parseMembers(JSON.stringify({ members: [voter, unstarted] })) ?? [];
    assert.equal(member?.node, "fd00::b");
    const addresses = { address: "10.0.0.2", address6: "fd00::b" };
    assert.ok(mayBeCalled(addresses, "demo-servers-1-aaaaaaaa").includes(member.node));
    assert.deepEqual(mayBeCalled({}, "demo-servers-1-aaaaaaaa"), ["demo-servers-1-aaaaaaaa"]);
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
