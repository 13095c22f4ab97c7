import assert from "node:assert/strict";
import {
  agentMayJoin,
  compareVersions,
  parseVersion,
  whyAgentMayNotJoin,
} from "../../../src/domain/versions/versions.ts";

describe("RKE2 version", () => {
  it("is read in full", () => {
    assert.deepEqual(parseVersion("v1.34.4-rc2+rke2r10"), {
      major: 1,
      minor: 34,
      patch: 4,
      candidate: 2,
      revision: 10,
    });
    assert.equal(parseVersion("v1.34.4+rke2r1")?.candidate, undefined);
  });

  for (const text of [
    "1.34.4+rke2r1",
    "v1.34.4",
    "v1.34+rke2r1",
    "v1.34.4+k3s1",
    "v1.34.4-rke2r1",
    "v1.34.4+rke2r1 ",
    "v1.033.4+rke2r1",
    "v1.33.04+rke2r1",
    "v1.33.4+rke2r01",
    "v01.33.4+rke2r1",
    "v1.33.12345678901234567890+rke2r1",
    "v1.33.4-rc01+rke2r1",
    "",
  ]) {
    it(`is not "${text}"`, () => assert.equal(parseVersion(text), undefined));
  }

  it("has one order", () => {
    const order = [
      "v1.33.12+rke2r1",
      "v1.34.4-rc1+rke2r1",
      "v1.34.4-rc2+rke2r1",
      "v1.34.4-rc10+rke2r1",
      "v1.34.4+rke2r1",
      "v1.34.4+rke2r2",
      "v1.34.4+rke2r10",
      "v1.34.10+rke2r1",
      "v1.35.0+rke2r1",
      "v2.0.0+rke2r1",
    ].map(read);
    order.forEach((a, i) => order.forEach((b, k) => assert.equal(Math.sign(compareVersions(a, b)), Math.sign(i - k))));
  });
});

describe("agents beside servers", () => {
  const cases: [boolean, string, string[]][] = [
    [true, "v1.34.4+rke2r1", ["v1.34.4+rke2r1"]],
    [true, "v1.34.4+rke2r1", ["v1.34.5+rke2r1", "v1.34.4+rke2r1"]],
    [false, "v1.34.5+rke2r1", ["v1.34.5+rke2r1", "v1.34.4+rke2r1"]],
    [false, "v1.34.4+rke2r2", ["v1.34.4+rke2r1"]],
    [false, "v1.34.4+rke2r1", ["v1.34.4-rc1+rke2r1"]],
    [true, "v1.31.9+rke2r1", ["v1.34.0+rke2r1"]],
    [false, "v1.30.9+rke2r1", ["v1.34.0+rke2r1"]],
    [true, "v1.25.9+rke2r1", ["v1.28.0+rke2r1"]],
    [true, "v1.24.9+rke2r1", ["v1.26.0+rke2r1"]],
    [false, "v1.24.9+rke2r1", ["v1.27.0+rke2r1"]],
    [false, "v0.34.4+rke2r1", ["v1.34.4+rke2r1"]],
    [false, "v1.34.4+rke2r1", []],
    [false, "v1.34.4+rke2r1", ["v1.34.4"]],
    [false, "latest", ["v1.34.4+rke2r1"]],
  ];
  for (const [may, agent, servers] of cases) {
    it(`${agent} ${may ? "may" : "may not"} join ${servers.join(" and ") || "nobody"}`, () => {
      assert.equal(agentMayJoin(agent, servers), may);
      assert.equal(whyAgentMayNotJoin(agent, servers) === undefined, may);
    });
  }

  it("says which server is too old", () => {
    const why = whyAgentMayNotJoin("v1.34.5+rke2r1", ["v1.34.6+rke2r1", "v1.34.4+rke2r1"]);
    assert.equal(why, "agents with v1.34.5+rke2r1 would be newer than a server with v1.34.4+rke2r1");
  });
});

function read(text: string): NonNullable<ReturnType<typeof parseVersion>> {
  const version = parseVersion(text);
  assert.ok(version);
  return version;
}
