import assert from "node:assert/strict";
import fc from "fast-check";
import type { ImageContents, Package } from "../../../src/domain/images/contents.ts";
import {
  contentsDiffLines,
  diffContents,
  diffPackages,
  packagesOf,
  type PackageChange,
} from "../../../src/domain/images/contents-diff.ts";

const one = (name: string, version: string, architecture = "amd64"): Package => ({ name, version, architecture });

describe("the difference of two lists of packages", () => {
  const before = [one("openssl", "3.0.13-0ubuntu3.5"), one("curl", "8.5.0-2ubuntu10.6"), one("vim", "2:9.1")];
  const cases: [string, Package[], PackageChange[]][] = [
    ["nothing, in another order", before.toReversed(), []],
    [
      "a newer version",
      [one("openssl", "3.0.13-0ubuntu3.10"), ...before.slice(1)],
      [
        {
          kind: "upgraded",
          name: "openssl",
          architecture: "amd64",
          before: "3.0.13-0ubuntu3.5",
          after: "3.0.13-0ubuntu3.10",
        },
      ],
    ],
    [
      "an older version",
      [...before.slice(0, 2), one("vim", "1:9.9")],
      [{ kind: "downgraded", name: "vim", architecture: "amd64", before: "2:9.1", after: "1:9.9" }],
    ],
    [
      "another text of the same version, which is another package file",
      [...before.slice(0, 2), one("vim", "2:9.1-0")],
      [{ kind: "changed", name: "vim", architecture: "amd64", before: "2:9.1", after: "2:9.1-0" }],
    ],
    [
      "a version that dpkg would not read",
      [...before.slice(0, 2), one("vim", "nightly")],
      [{ kind: "changed", name: "vim", architecture: "amd64", before: "2:9.1", after: "nightly" }],
    ],
    [
      "a package more and one less, and another architecture of one",
      [...before.slice(0, 2), one("nano", "7.2"), one("curl", "8.5.0-2ubuntu10.6", "i386")],
      [
        { kind: "added", name: "curl", architecture: "i386", after: "8.5.0-2ubuntu10.6" },
        { kind: "added", name: "nano", architecture: "amd64", after: "7.2" },
        { kind: "removed", name: "vim", architecture: "amd64", before: "2:9.1" },
      ],
    ],
  ];
  for (const [name, after, expected] of cases)
    it(`names ${name}`, () => assert.deepEqual(diffPackages(before, after), expected));

  const lists = fc.uniqueArray(
    fc.tuple(fc.constantFrom(...("abcdefgh".match(/./g) ?? [])), fc.constantFrom("1", "2", "10")),
    {
      selector: ([name]) => name,
    },
  );

  it("accounts for all: carried out on the first it gives the second", () => {
    fc.assert(
      fc.property(lists, lists, (first, second) => {
        const [old, young] = [first, second].map((list) => list.map(([name, version]) => one(name, version)));
        const result = new Map<string, string>(first);
        for (const change of diffPackages(old ?? [], young ?? [])) {
          if (change.kind === "removed") result.delete(change.name);
          else result.set(change.name, change.after);
        }
        assert.deepEqual([...result].toSorted(), second.toSorted());
      }),
    );
  });

  it("of 2,000 packages takes no time that anybody notices", () => {
    const many = (version: number) =>
      Array.from({ length: 2000 }, (_, i) => one(`package-${i}`, `1:${i}.${version}-3ubuntu${i % 7}`));
    const [old, young] = [many(9), many(10)];
    const begin = performance.now();
    const changes = diffPackages(old, young);
    const ms = performance.now() - begin;
    console.log(
      `      2,000 packages that all differ: ${ms.toFixed(0)} ms, ${(ms / 50).toFixed(2)} of the bound of 50 ms`,
    );
    assert.equal(changes.filter(({ kind }) => kind === "upgraded").length, 2000);
  });
});

describe("the difference of two images", () => {
  it("names container images and files too", () => {
    const before: ImageContents = {
      packages: [one("curl", "1")],
      images: [{ reference: "rancher/etcd:v1", sha256: "a" }],
      files: [{ path: "/usr/local/bin/rke2", sha256: "b" }],
    };
    const after = {
      ...before,
      images: [{ reference: "rancher/etcd:v2", sha256: "c" }],
      files: [{ path: "/usr/local/bin/rke2", sha256: "d" }],
    };
    assert.deepEqual(diffContents(before, after), {
      packages: [],
      images: [
        { kind: "removed", name: "rancher/etcd:v1", before: "a" },
        { kind: "added", name: "rancher/etcd:v2", after: "c" },
      ],
      files: [{ kind: "changed", name: "/usr/local/bin/rke2", before: "b", after: "d" }],
    });
  });

  it("is read line by line", () => {
    const before: ImageContents = {
      packages: [one("curl", "1"), one("vim", "2")],
      images: [],
      files: [{ path: "/a", sha256: "b".repeat(64) }],
    };
    const after: ImageContents = {
      packages: [one("curl", "2"), one("nano", "7")],
      images: [{ reference: "rancher/etcd:v2", sha256: "c".repeat(64) }],
      files: [{ path: "/a", sha256: "d".repeat(64) }],
    };
    assert.deepEqual(contentsDiffLines(diffContents(before, after)), [
      "installed packages: 3 differences",
      "  ~ curl 1 -> 2",
      "  + nano 7",
      "  - vim 2",
      "container images: 1 differences",
      "  + rancher/etcd:v2 cccccccccccc",
      "protected files: 1 differences",
      "  ~ /a bbbbbbbbbbbb -> dddddddddddd",
    ]);
    assert.equal(contentsDiffLines(diffContents(after, before)).includes("  - rancher/etcd:v2 cccccccccccc"), true);
    assert.deepEqual(contentsDiffLines(diffContents(after, after)), [
      "both images hold the same packages, container images and protected files",
    ]);
  });
});

describe("a manifest", () => {
  it("lists packages, with or without their architecture, and snaps that are none", () => {
    const text = "adduser\t3.137ubuntu1\nlibc6:amd64\t2.39-0ubuntu8.5\nsnap:lxd\t5.21/stable/ubuntu-24.04\t29619\n";
    assert.deepEqual(packagesOf(text, "all"), [one("adduser", "3.137ubuntu1", "all"), one("libc6", "2.39-0ubuntu8.5")]);
  });

  for (const text of ["adduser 3.137", "adduser\t", "<html>", "adduser\t1\t2"])
    it(`is not ${JSON.stringify(text)}`, () => assert.equal(packagesOf(text, "amd64"), undefined));
});
