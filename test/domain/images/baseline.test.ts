import assert from "node:assert/strict";
import {
  baselineOf,
  type BaselineNode,
  type NodeReading,
  type RecordedPackages,
} from "../../../src/domain/images/baseline.ts";

const openssl = { name: "openssl", version: "3.0.13-0ubuntu3.5", architecture: "amd64" };
const kernel = { name: "linux-image-6.8.0-71-generic", version: "6.8.0-71.71", architecture: "amd64" };
const node: BaselineNode = {
  ...{ pool: "workers", name: "demo-workers-0-1a2b3c4d", vmid: 1100, host: "pve1" },
  image: "ubuntu-24.04-rke2-v1.1.0",
  rke2: { image: "v1.34.4+rke2r1", running: "v1.34.4+rke2r1" },
};
const recorded: RecordedPackages = { packages: [kernel, openssl], from: "record" };
const reading: NodeReading = { dpkg: { packages: [openssl, kernel], broken: [] }, kernel: "6.8.0-71-generic" };
const newer = { name: "linux-image-6.8.0-79-generic", version: "6.8.0-79.79", architecture: "amd64" };

interface Changes {
  node?: Partial<BaselineNode>;
  recorded?: RecordedPackages;
  reading?: Partial<NodeReading>;
}
const drift = (changes: Changes): string[] =>
  baselineOf({ ...node, ...changes.node }, changes.recorded ?? recorded, { ...reading, ...changes.reading }).drift.map(
    ({ weight, what }) => `${weight}: ${what}`,
  );
const withPackages = (...packages: (typeof openssl)[]): Changes => ({ reading: { dpkg: { packages, broken: [] } } });

describe("a node beside its image", () => {
  it("is as its image, in whatever order dpkg lists its packages", () => {
    const same = baselineOf(node, recorded, reading);
    assert.deepEqual(same.drift, []);
    assert.deepEqual(
      [same.kernel, same.rebootPending, same.packagesFrom],
      [{ running: "6.8.0-71-generic", installed: "6.8.0-71-generic" }, false, "record"],
    );
  });

  const cases: [string, Changes, string[]][] = [
    ["a package that is gone", withPackages(kernel), ["other: - openssl 3.0.13-0ubuntu3.5"]],
    [
      "a package that somebody added",
      withPackages(kernel, openssl, { ...openssl, name: "nmap" }),
      ["other: + nmap 3.0.13-0ubuntu3.5"],
    ],
    [
      "a newer package",
      withPackages(kernel, { ...openssl, version: "3.0.13-0ubuntu3.6" }),
      ["other: ~ openssl 3.0.13-0ubuntu3.5 -> 3.0.13-0ubuntu3.6"],
    ],
    [
      "a package that is half there",
      { reading: { dpkg: { packages: [kernel, openssl], broken: [{ name: "openssl", state: "unpacked" }] } } },
      ["broken: the package openssl is unpacked: an installation was broken off"],
    ],
    [
      "a kernel that waits for a reboot",
      withPackages(kernel, openssl, newer),
      [
        "other: + linux-image-6.8.0-79-generic 6.8.0-79.79",
        "owed: the kernel 6.8.0-71-generic runs, and 6.8.0-79-generic is installed",
      ],
    ],
    ["a reboot that libraries ask for", { reading: { rebootFor: ["libc6"] } }, ["owed: a reboot is pending: libc6"]],
    ["a reboot that nobody explains", { reading: { rebootFor: [] } }, ["owed: a reboot is pending"]],
    [
      "another RKE2",
      { node: { rke2: { image: "v1.34.4+rke2r1", running: "v1.34.5+rke2r1" } } },
      ["other: RKE2 v1.34.5+rke2r1 runs, and its image has v1.34.4+rke2r1"],
    ],
    [
      "no Node",
      { node: { rke2: { image: "v1.34.4+rke2r1" } } },
      ["unknown: its RKE2 is not known: it has no Node that reports"],
    ],
    [
      "a generation that nobody remembers",
      { node: { rke2: { running: "v1.34.4+rke2r1" } } },
      ["unknown: RKE2 v1.34.4+rke2r1 runs, and nobody knows of which image"],
    ],
    [
      "no record",
      { recorded: { why: "it has no record" } },
      ["unknown: what its image holds is not known: it has no record"],
    ],
  ];
  for (const [title, changes, expected] of cases)
    it(`says of ${title}`, () => assert.deepEqual(drift(changes), expected));

  it("is never as its image when its guest cannot be read", () => {
    const { drift: found, kernel: none } = baselineOf(node, recorded, { why: "its VM does not run" });
    assert.deepEqual(
      found.map(({ weight, what }) => `${weight}: ${what}`),
      ["unknown: its guest cannot be read: its VM does not run"],
    );
    assert.equal(none, undefined);
  });
});
