import assert from "node:assert/strict";
import { clockErrorIn, isRemovedFromEtcd, whatIsMissing } from "../../../src/domain/rollout/join-log.ts";

const now = new Date("2026-03-01T12:00:00Z");
const refused = (current: string, rest: string) =>
  `level=fatal msg="CA cert validation failed: Get \\"https://10.0.0.5:9345/cacerts\\": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time ${current} is ${rest}"`;

describe("the clock of a machine, by its join log", () => {
  const cases: [string, string, number | undefined][] = [
    ["is behind", refused("2026-02-28T12:00:00Z", "before 2026-03-01T08:00:00Z"), -86_400],
    ["is behind, in a zone of its own", refused("2026-02-28T15:00:00+03:00", "before 2026-03-01T08:00:00Z"), -86_400],
    ["is ahead", refused("2028-03-01T12:00:00Z", "after 2027-03-01T08:00:00Z"), 731 * 86_400],
    ["is right: the certificate has expired", refused("2026-03-01T11:59:00Z", "after 2026-02-28T08:00:00Z"), undefined],
    ["is not spoken of", 'level=fatal msg="401 Unauthorized"', undefined],
    ["was not read", "", undefined],
  ];
  for (const [title, line, seconds] of cases) {
    it(title, () => assert.equal(clockErrorIn(`a line before\n${line}\nand one after`, now), seconds));
  }

  it("is as it was last: it may have been set meanwhile", () => {
    const before = refused("2026-02-28T12:00:00Z", "before 2026-03-01T08:00:00Z");
    const after = refused("2026-03-01T11:59:58Z", "after 2026-03-01T08:00:00Z");
    assert.equal(clockErrorIn(`${before}\n${after}`, now), undefined);
  });
});

describe("a server that etcd takes back no more, by its join log", () => {
  const cases: [string, string, boolean][] = [
    [
      "says so in etcd's words",
      'level=fatal msg="etcd server failed: the member has been permanently removed from the cluster"',
      true,
    ],
    ["says so in RKE2's words", "fatal: this member has been permanently removed from the cluster", true],
    ["says nothing of it when another one was removed", 'msg="removed member 8e9e05c52164694d"', false],
    ["says nothing of it when the log was not read", "", false],
  ];
  for (const [title, line, is] of cases) it(title, () => assert.equal(isRemovedFromEtcd(`before\n${line}\n`), is));
});

describe("an image of RKE2 that cannot be fetched, by the join log", () => {
  it("is named as RKE2 names it", () => {
    const what =
      "failed to get runtime image index.docker.io/rancher/rke2-runtime:v1.34.4-rke2r1: all endpoints failed: ";
    const line = `level=fatal msg="${what}Get \\"https://index.docker.io/v2/\\": dial tcp: i/o timeout"`;
    assert.ok(whatIsMissing(`before\n${line}\nafter`)?.startsWith(what.trimEnd()));
  });

  it("is named while it is being fetched, and not once RKE2 has said something else", () => {
    const image = "index.docker.io/rancher/rke2-runtime:v1.34.4-rke2r1";
    const log = `before\nlevel=info msg="Pulling runtime image ${image}"\nlevel=info msg="Creating directory /var/lib/rancher/rke2/data/v1.34.4-rke2r1/bin"\n`;
    assert.equal(whatIsMissing(log), `RKE2 is still fetching its image ${image}`);
    assert.equal(whatIsMissing(`${log}level=info msg="Running kubelet"\n`), undefined);
  });

  it("is not named in a log without it", () => {
    assert.equal(whatIsMissing('level=fatal msg="401 Unauthorized"'), undefined);
  });
});

describe("a family of addresses that a machine lacks, by the join log", () => {
  const line = (what: string) =>
    `level=fatal msg="cluster-cidr: [10.42.0.0/16 fd00:42::/56] and ${what}, must share the same IP version (IPv4, IPv6 or dual-stack)"`;
  it("is named as RKE2 names it", () => {
    assert.equal(
      whatIsMissing(`before\n${line("node-ip: [10.0.0.9]")}\nafter`),
      "cluster-cidr: [10.42.0.0/16 fd00:42::/56] and node-ip: [10.0.0.9], must share the same IP version",
    );
  });

  it("is any family when there is no default route, as without an answer of DHCP", () => {
    const says = 'no default routes found in \\"/proc/net/route\\" or \\"/proc/net/ipv6_route\\"';
    assert.equal(whatIsMissing(`before\nlevel=fatal msg="${says}"\nafter`), "no default routes found");
  });

  it("is not what networks of the configuration lack", () => {
    assert.equal(whatIsMissing(line("service-cidr: [10.43.0.0/16]")), undefined);
  });
});
