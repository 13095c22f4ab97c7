import assert from "node:assert/strict";
import { checkFamilies, withDefaults } from "../../../lab/guest/families.ts";

describe("RKE2 of a guest", () => {
  const both = { pods: ["10.42.0.0/16", "fd00:42::/56"], services: ["10.43.0.0/16", "fd00:43::/112"] };
  const none = withDefaults({ pods: [], services: [] });
  const cases: [what: string, ranges: typeof both, ips: string[], said: RegExp | undefined][] = [
    ["IPv4 everywhere", none, ["10.0.0.9"], undefined],
    ["networks of IPv4 on a node of both", none, ["10.0.0.9", "fd00::9"], undefined],
    ["both everywhere", both, ["10.0.0.9", "fd00::9"], undefined],
    [
      "networks of both on a node of IPv4",
      both,
      ["10.0.0.9"],
      /cluster-cidr: \[10.42.0.0\/16 fd00:42::\/56\] and node-ip: /,
    ],
    ["pods of both with services of IPv4", { ...both, services: none.services }, ["fd00::9"], /and service-cidr: \[10/],
  ];
  for (const [what, ranges, ips, said] of cases)
    it(`${said ? "does not start" : "starts"} with ${what}`, () => {
      if (said) assert.throws(() => checkFamilies(ranges, ips), said);
      else checkFamilies(ranges, ips);
    });
});
