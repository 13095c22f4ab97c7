import assert from "node:assert/strict";
import { crowdedHosts } from "../../../src/domain/rollout/host-spread.ts";

describe("servers on hosts", () => {
  const cases: [title: string, servers: string[], hosts: string[], crowded: string[]][] = [
    ["one on each host", ["a", "b", "c"], ["a", "b", "c"], []],
    ["two of three on one host, and another has none", ["a", "a", "c"], ["a", "b", "c"], ["a"]],
    ["two of three on one of two hosts", ["a", "a", "b"], ["a", "b"], []],
    ["all on the only host", ["a", "a", "a"], ["a"], []],
    ["two of five on one host", ["a", "a", "b", "b", "c"], ["a", "b", "c", "d"], []],
    ["three of five on one host", ["a", "a", "a", "b", "c"], ["a", "b", "c", "d"], ["a"]],
    ["a single server", ["a"], ["a", "b"], []],
    ["two on a host that does not answer any more", ["x", "x", "a"], ["a", "b"], ["x"]],
  ];
  for (const [title, servers, hosts, crowded] of cases)
    it(`are ${crowded.length > 0 ? "named" : "left alone"} with ${title}`, () => {
      const lines = crowdedHosts(
        servers.map((host, slot) => ({ name: `server-${slot}`, host })),
        hosts,
      );
      assert.deepEqual(
        lines.map((line) => /servers are on (\S+)/.exec(line)?.[1]),
        crowded,
      );
    });
});
