import assert from "node:assert/strict";
import type { Json } from "../../../src/domain/model/canonical.ts";
import {
  ipv6AloneProblems,
  missingFamilyProblems,
  rangeProblems,
  unusedFamilyWords,
} from "../../../src/domain/rollout/ip-families.ts";

type Config = Record<string, Json>;
const both: Config = { "cluster-cidr": "10.42.0.0/16,fd00:42::/56", "service-cidr": ["10.43.0.0/16", "fd00:43::/112"] };

describe("the networks of pods and services", () => {
  const cases: [what: string, config: Config, said: RegExp | undefined][] = [
    ["are RKE2's own", {}, undefined],
    ["are other ones", { "cluster-cidr": "10.244.0.0/16" }, undefined],
    ["have both families", both, undefined],
    [
      "are appended",
      { "cluster-cidr+": both["cluster-cidr"] ?? "", "service-cidr": both["service-cidr"] ?? "" },
      undefined,
    ],
    [
      "have both families for pods alone",
      { "cluster-cidr": "10.42.0.0/16, fd00:42::/56" },
      /cluster-cidr has IPv4 and IPv6 and service-cidr IPv4:/,
    ],
    [
      "have both families for services alone",
      { "service-cidr": "10.43.0.0/16,fd00:43::/112" },
      /cluster-cidr has IPv4 and service-cidr IPv4 and IPv6:/,
    ],
    [
      "have another family first",
      { ...both, "service-cidr": "fd00:43::/112,10.43.0.0/16" },
      /cluster-cidr has IPv4 and IPv6 and service-cidr IPv6 and IPv4:/,
    ],
    [
      "have IPv6 alone",
      { "cluster-cidr": "fd00:42::/56", "service-cidr": "fd00:43::/112" },
      /IPv6 alone is not possible/,
    ],
    [
      "have IPv6 first",
      { "cluster-cidr": "fd00:42::/56,10.42.0.0/16", "service-cidr": "fd00:43::/112,10.43.0.0/16" },
      /IPv6 first is not possible/,
    ],
    ["are none that can be read: RKE2 says what is wrong", { "cluster-cidr": "10.42/16" }, undefined],
    ["are of another type", { "cluster-cidr": { a: 1 } }, undefined],
  ];
  for (const [what, config, said] of cases)
    it(`are ${said ? "refused" : "taken"} when they ${what}`, () => {
      const [problem, ...others] = rangeProblems(config);
      assert.deepEqual(others, []);
      if (said === undefined) assert.equal(problem, undefined);
      else assert.match(problem?.what ?? "", said);
    });
});

describe("nodes without IPv4", () => {
  const node = (...addresses: string[]) => ({ name: `n${addresses.length}`, addresses });
  const cases: [what: string, nodes: ReturnType<typeof node>[], isRefused: boolean][] = [
    ["are all that there are", [node("fd00::1"), node("fd00::2", "fd00::3")], true],
    ["are beside others", [node("fd00::1"), node("10.0.0.1")], false],
    ["have both families", [node("fd00::1", "10.0.0.1")], false],
    ["say nothing", [node()], false],
    ["are not there yet", [], false],
  ];
  for (const [what, nodes, isRefused] of cases)
    it(`are ${isRefused ? "refused" : "taken"} when they ${what}`, () => {
      const problems = ipv6AloneProblems(nodes);
      assert.equal(problems.length, isRefused ? 1 : 0);
      if (isRefused) assert.match(problems[0]?.what ?? "", /IPv6 alone, which is not possible yet: .*IPv4/);
    });
});

describe("IPv6 on the nodes of a pool", () => {
  const registrationAddress = "10.0.0.5";
  const single = { config: {}, registrationAddress, nodes: [] };
  const dual = { ...single, config: both };
  const bySight = { ...single, nodes: [{ lifelongKeys: { "cluster-cidr": "10.42.0.0/16,fd00:42::/56" } }] };
  const byAddress = { ...single, registrationAddress: "fd00::5" };
  const untold = { name: "workers", path: "evergreen:pools[0]", isTold: false, isMade: true, nodes: [] };
  const [old, seen] = [
    [{ addresses: ["10.0.0.9"] }],
    [{ addresses: ["10.0.0.9"] }, { addresses: ["fd00::9", "10.0.0.8"] }],
  ];
  for (const [what, cluster, pool, said] of [
    ["pods have both families", dual, untold, /nodes of workers have IPv6: pods have IPv4 and IPv6/],
    ["servers say that pods have both families", bySight, untold, /pods have IPv4 and IPv6/],
    ["they join through an IPv6 address", byAddress, untold, /join through an IPv6 address/],
    ["its nodes have IPv4 alone so far", byAddress, { ...untold, nodes: old }, /nodes of workers have IPv6/],
    ["its nodes list IPv4 alone, and RKE2 has started on them", dual, { ...untold, nodes: old }, undefined],
    ["a node of it has IPv6 by router advertisements", dual, { ...untold, nodes: seen }, undefined],
    ["it says where they get it", dual, { ...untold, isTold: true }, undefined],
    ["none of its nodes is made", dual, { ...untold, isMade: false }, undefined],
    ["pods have IPv4 alone", single, untold, undefined],
  ] as const)
    it(`is ${said ? "missed" : "not missed"} when ${what}`, () => {
      const [problem] = missingFamilyProblems(cluster, [pool]);
      if (said) assert.match(problem?.what ?? "", said);
      else assert.equal(problem, undefined);
    });

  it("is told to be of no use to pods when they have IPv4 alone", () => {
    const told = { ...untold, isTold: true };
    assert.match(
      unusedFamilyWords(single, [told, untold]).join(),
      /nodes of workers have IPv6, and pods and services IPv4/,
    );
    for (const cluster of [dual, bySight]) assert.deepEqual(unusedFamilyWords(cluster, [told]), []);
    assert.deepEqual(unusedFamilyWords(single, [{ ...told, isMade: false }]), []);
  });
});
