import assert from "node:assert/strict";
import { hopNotes, hopProblems, type LiveVersion } from "../../../src/domain/versions/upgrade-path.ts";
import { compareEtcd, etcdOf, RELEASES } from "../../../src/domain/versions/releases.ts";
import type { PoolSpec } from "../../../src/domain/model/types.ts";
import { compareVersions, parseVersion } from "../../../src/domain/versions/versions.ts";
import { A, poolOf } from "../rollout/world.ts";

/** Short for `v1.<rest>`: `34.4r1` is v1.34.4+rke2r1. Anything else stays as it is. */
function full(short: string): string {
  return short.replace(
    /^(\d+\.\d+)(-rc\d+)?r(\d+)$/,
    (_, patch: string, candidate = "", revision: string) => `v1.${patch}${String(candidate)}+rke2r${revision}`,
  );
}

function nodes(role: LiveVersion["role"], versions: string): LiveVersion[] {
  const texts = versions.split(" ").filter((text) => text !== "");
  return texts.map((text, i) => ({ name: `${role}-${i}`, role, kubelet: full(text) }));
}

function to(version: string): PoolSpec {
  return poolOf({ ...A, image: "new-v2.0.0", rke2: full(version) }, { name: "servers", role: "server", slots: 3 });
}

function problems(from: string, target: string, agents = ""): string[] {
  const live = [...nodes("server", from), ...nodes("agent", agents)];
  return hopProblems(to(target), live).map(({ what }) => what);
}

describe("a hop of servers", () => {
  const allowed: [string, string, string][] = [
    ["to the next patch", "34.4r1 34.4r1 34.4r1", "34.5r1"],
    ["to the next revision", "34.3r1", "34.3r3"],
    ["to the release of a candidate", "34.4-rc1r1", "34.4r1"],
    ["to the next minor version", "34.10r1", "35.7r1"],
    ["while some have arrived", "34.4r1 34.5r1 34.5r1", "34.5r1"],
    ["none: another image with the same version", "33.6r1 33.6r1", "33.6r1"],
    ["none: servers on a release that was withdrawn stay", "v1.26.0+rke2r1", "v1.26.0+rke2r1"],
    ["none: the cluster is founded", "", "36.3r1"],
    ["to the stepping stone", "33.6r1", "33.10r3"],
    ["to the stepping stone, from the minor version before", "32.6r1", "33.10r3"],
    ["from the stepping stone to 3.6 within 1.33", "33.7r3", "33.11r1"],
    ["from the stepping stone to 1.34", "33.10r3", "34.10r1"],
    ["from 1.32's stepping stone to 3.6 in 1.33", "32.13r2", "33.13r2"],
    ["from 3.6 within 1.33", "33.11r1", "33.13r2"],
    ["between old releases", "v1.30.14+rke2r4", "v1.31.14+rke2r2"],
    ["from before the table into it", "v1.31.14+rke2r2", "32.13r2"],
    ["to a patch newer than the table", "34.10r1", "34.11r1"],
    ["to 1.33 newer than the table, from 3.6", "33.13r2", "33.14r1"],
    ["to 1.33 newer than the table, from the stepping stone", "33.10r3", "33.14r1"],
    ["to a minor version newer than the table", "36.3r1", "37.0r1"],
    ["from one release newer than the table to the next", "37.1r1", "38.0r2"],
    ["to a revision that the table lacks, all of 1.34 being 3.6", "34.4r1", "34.4r2"],
    ["from an unknown 1.33, to the stepping stone", "33.7r2", "33.10r3"],
  ];
  for (const [what, from, target] of allowed) {
    it(`is allowed ${what}`, () => assert.deepEqual(problems(from, target), []));
  }

  const refused: [string, string, string, string[]][] = [
    [
      "back by a minor version",
      "35.4r1",
      "34.7r1",
      ["servers cannot go back from RKE2 v1.35.4+rke2r1 to v1.34.7+rke2r1"],
    ],
    ["back by a patch", "34.5r1", "34.4r1", ["servers cannot go back from RKE2 v1.34.5+rke2r1 to v1.34.4+rke2r1"]],
    ["back by a revision", "34.3r3", "34.3r1", ["servers cannot go back from RKE2 v1.34.3+rke2r3 to v1.34.3+rke2r1"]],
    [
      "back from r10 to r2",
      "40.1r10",
      "40.1r2",
      ["servers cannot go back from RKE2 v1.40.1+rke2r10 to v1.40.1+rke2r2"],
    ],
    [
      "back from a release to its candidate",
      "34.4r1",
      "34.4-rc2r1",
      ["servers cannot go back from RKE2 v1.34.4+rke2r1 to v1.34.4-rc2+rke2r1"],
    ],
    [
      "below one server",
      "34.4r1 34.4r1 34.6r1",
      "34.5r1",
      ["servers cannot go back from RKE2 v1.34.6+rke2r1 to v1.34.5+rke2r1"],
    ],
    [
      "over a minor version",
      "34.10r1",
      "36.3r1",
      ["RKE2 v1.36.3+rke2r1 is more than one minor version after v1.34.10+rke2r1"],
    ],
    [
      "over a minor version from the oldest server",
      "35.7r1 35.7r1 34.10r1",
      "36.3r1",
      ["RKE2 v1.36.3+rke2r1 is more than one minor version after v1.34.10+rke2r1"],
    ],
    [
      "to another major version",
      "37.0r1",
      "v2.0.0+rke2r1",
      [
        "RKE2 v2.0.0+rke2r1 is more than one minor version after v1.37.0+rke2r1",
        "which etcd RKE2 v2.0.0+rke2r1 has is not known",
      ],
    ],
    [
      "to a release that was withdrawn",
      "v1.25.4+rke2r1",
      "v1.26.0+rke2r1",
      ["RKE2 v1.26.0+rke2r1 was withdrawn after its release"],
    ],
    [
      "to found a cluster on one that was withdrawn",
      "",
      "v1.26.0+rke2r1",
      ["RKE2 v1.26.0+rke2r1 was withdrawn after its release"],
    ],
    [
      "from etcd 3.5.21 to 3.6 by a mere patch",
      "33.6r1",
      "33.11r1",
      ["RKE2 v1.33.6+rke2r1 has etcd 3.5.21, and only 3.5.26 leads safely to the 3.6 of v1.33.11+rke2r1"],
    ],
    [
      "from etcd 3.5.25 to 3.6, one revision short",
      "33.7r1",
      "34.10r1",
      ["RKE2 v1.33.7+rke2r1 has etcd 3.5.25, and only 3.5.26 leads safely to the 3.6 of v1.34.10+rke2r1"],
    ],
    [
      "when one server is short of the stepping stone",
      "33.10r3 33.10r3 33.7r1",
      "34.10r1",
      ["RKE2 v1.33.7+rke2r1 has etcd 3.5.25, and only 3.5.26 leads safely to the 3.6 of v1.34.10+rke2r1"],
    ],
    [
      "from an unknown 1.33 to 3.6",
      "33.7r2",
      "34.10r1",
      [
        "RKE2 v1.33.7+rke2r2 may have an etcd before 3.5.26, and only 3.5.26 leads safely to the 3.6 of v1.34.10+rke2r1",
      ],
    ],
    [
      "from a candidate in the middle of 1.33 to 3.6",
      "33.11-rc1r1",
      "34.10r1",
      [
        "RKE2 v1.33.11-rc1+rke2r1 may have an etcd before 3.5.26, and only 3.5.26 leads safely to the 3.6 of v1.34.10+rke2r1",
      ],
    ],
    [
      "from a newer 1.32 than the table's to 3.6",
      "32.14r1",
      "33.13r2",
      [
        "RKE2 v1.32.14+rke2r1 may have an etcd before 3.5.26, and only 3.5.26 leads safely to the 3.6 of v1.33.13+rke2r2",
      ],
    ],
    ["to an unknown 1.33", "33.6r1", "33.7r2", ["which etcd RKE2 v1.33.7+rke2r2 has is not known"]],
    ["to a newer 1.32 than the table's", "32.13r2", "32.14r1", ["which etcd RKE2 v1.32.14+rke2r1 has is not known"]],
    [
      "to a newer 1.33 than the table's, from 3.5.21",
      "33.6r1",
      "33.14r1",
      ["RKE2 v1.33.6+rke2r1 has etcd 3.5.21, and only 3.5.26 leads safely to the 3.6 of v1.33.14+rke2r1"],
    ],
    [
      "to the next minor version with an older etcd",
      "33.13r2",
      "34.4r1",
      ["RKE2 v1.34.4+rke2r1 has an older etcd than v1.33.13+rke2r2: etcd 3.6.7 after etcd 3.6.14"],
    ],
    [
      "to an older etcd from a newer release than the table's",
      "34.11r1",
      "35.4r1",
      ["RKE2 v1.35.4+rke2r1 has an older etcd than v1.34.11+rke2r1: etcd 3.6.7 after etcd 3.6.14 or newer"],
    ],
    ["to what is no version", "34.4r1", "stable", ['"stable" of servers is not an RKE2 version']],
    ["from what is no version", "34.4r1 v1.34.4+k3s1", "34.5r1", ['"v1.34.4+k3s1" of servers is not an RKE2 version']],
    [
      "over everything at once",
      "v1.31.9+rke2r1 35.0r1",
      "34.10r1",
      [
        "RKE2 v1.34.10+rke2r1 is more than one minor version after v1.31.9+rke2r1",
        "RKE2 v1.31.9+rke2r1 may have an etcd before 3.5.26, and only 3.5.26 leads safely to the 3.6 of v1.34.10+rke2r1",
        "servers cannot go back from RKE2 v1.35.0+rke2r1 to v1.34.10+rke2r1",
      ],
    ],
  ];
  for (const [what, from, target, expected] of refused) {
    it(`is refused ${what}`, () => assert.deepEqual(problems(from, target), expected));
  }

  it("leaves agents behind that are not newer and at most three minor versions older", () => {
    assert.deepEqual(problems("34.4r1", "34.5r1", "34.5r1 34.4r1 31.14r2"), []);
    assert.deepEqual(problems("34.10r1", "35.7r1", "35.7r1 31.9r1"), [
      "servers with RKE2 v1.35.7+rke2r1 do not fit the agents: agents with v1.31.9+rke2r1 would be more than 3 minor versions older than a server with v1.35.7+rke2r1",
    ]);
    assert.deepEqual(problems("34.4r1", "34.5r1", "34.6r1"), [
      "servers with RKE2 v1.34.5+rke2r1 do not fit the agents: agents with v1.34.6+rke2r1 would be newer than a server with v1.34.5+rke2r1",
    ]);
  });

  it("is nothing that agents do", () => {
    const pool = { ...to("30.1r1"), role: "agent" as const };
    assert.deepEqual(hopProblems(pool, nodes("server", "34.4r1")), []);
    assert.deepEqual(hopNotes(pool, nodes("server", "34.4r1")), []);
  });

  it("says who is in the way and what to do", () => {
    assert.deepEqual(hopProblems(to("34.10r1"), nodes("server", "33.10r3 33.6r1 33.6r1")), [
      {
        what: "RKE2 v1.33.6+rke2r1 has etcd 3.5.21, and only 3.5.26 leads safely to the 3.6 of v1.34.10+rke2r1",
        where: "controlPlane.image: new-v2.0.0; v1.33.6+rke2r1 runs on server-1, server-2",
        todo: "go to v1.33.10+rke2r3 first, with all servers",
      },
    ]);
    const [back] = hopProblems(to("34.4r1"), nodes("server", "34.5r1"));
    assert.equal(
      back?.todo,
      "choose an image with v1.34.5+rke2r1 or newer; only restoring an etcd snapshot that was taken on v1.34.4+rke2r1 leads back",
    );
  });

  it("names the stepping stone of the minor version where servers are", () => {
    const stone = (from: string, target: string) => hopProblems(to(target), nodes("server", from)).at(-1)?.todo;
    assert.equal(stone("33.0r1", "34.1r1"), "go to v1.33.10+rke2r3 first, with all servers");
    assert.equal(stone("32.10r1", "33.11r1"), "go to v1.32.13+rke2r2 first, with all servers");
    assert.equal(stone("31.9r1", "33.11r1"), "go to v1.32.13+rke2r2 first, with all servers");
    assert.equal(stone("32.14r1", "33.11r1"), "go to v1.33.10+rke2r3 first, with all servers");
    assert.match(stone("33.11-rc1r1", "33.11r1") ?? "", /^see which etcd it has/);
  });
});

describe("all hops between releases that are known", () => {
  /** By the release notes of 1.33.7+rke2r1 and 1.33.11+rke2r1, not by the table: patch and revision that began with it. */
  const from = (text: string, start: string) => compareVersions(read(text), read(start)) >= 0;
  const has36 = (text: string) => from(text, "v1.33.11+rke2r1");
  const isStone = (text: string) =>
    !has36(text) && (from(text, "v1.33.7+rke2r3") || (text.startsWith("v1.32.") && from(text, "v1.32.11+rke2r3")));

  it("never decrease, never skip a minor version, and reach etcd 3.6 from 3.5.26 only", () => {
    let hops = 0;
    for (const { text: start } of RELEASES) {
      for (const { text: end } of RELEASES) {
        if (start === end || problems(start, end).length > 0) continue;
        hops += 1;
        assert.ok(from(end, start), `${start} to ${end} goes back`);
        assert.ok(read(end).minor - read(start).minor <= 1, `${start} to ${end} skips`);
        assert.ok(!has36(end) || has36(start) || isStone(start), `${start} to ${end} is not safe`);
      }
    }
    assert.ok(hops > 500, `${hops} hops`);
  });

  it("lead from every release to the newest", () => {
    const arrives = new Set([RELEASES.at(-1)?.text]);
    for (const { text } of RELEASES.toReversed()) {
      if ([...arrives].some((end) => end !== undefined && problems(text, end).length === 0)) arrives.add(text);
    }
    assert.equal(arrives.size, RELEASES.length);
  });

  it("are of releases that are read, each once, whose etcd never goes back within a minor version", () => {
    assert.equal(new Set(RELEASES.map(({ text }) => text)).size, RELEASES.length);
    for (const [, same] of Map.groupBy(RELEASES, ({ version }) => version.minor)) {
      same.forEach((release, i) => {
        const next = same[i + 1];
        assert.ok(next === undefined || compareEtcd(release.etcd, next.etcd) <= 0, release.text);
        assert.deepEqual(etcdOf(release.version), release.etcd);
      });
    }
  });
});

describe("what is said before a hop", () => {
  const notes = (from: string, target: string) => hopNotes(to(target), nodes("server", from));
  const back = (version: string) =>
    `there is no way back from RKE2 ${full(version)} but restoring an etcd snapshot that was taken before`;

  it("is nothing without one", () => {
    assert.deepEqual(notes("34.4r1 34.4r1", "34.4r1"), []);
    assert.deepEqual(notes("", "37.0r1"), []);
  });

  it("is that it has no way back", () => assert.deepEqual(notes("34.4r1 34.5r1", "34.5r1"), [back("34.5r1")]));

  it("is what becomes of ingress-nginx", () => {
    const [, ...at36] = notes("35.7r1", "36.3r1");
    assert.equal(at36.length, 1);
    assert.match(at36.join(), /rke2-images-ingress-nginx/);
    const [, ...at37] = notes("37.0r1 36.3r1", "37.0r1");
    assert.equal(at37.length, 1);
    assert.match(at37.join(), /has no ingress-nginx/);
    assert.deepEqual(notes("37.0r1", "37.1r1"), [back("37.1r1")]);
  });
});

function read(text: string): NonNullable<ReturnType<typeof parseVersion>> {
  const version = parseVersion(text);
  assert.ok(version, text);
  return version;
}
