import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import {
  ageWarning,
  futureFault,
  archiveDateOf,
  artefactPins,
  baseFilesOf,
  disagreement,
  isFault,
  leastArtefacts,
  olderFault,
  parseSums,
  serialsOf,
  signatureFault,
  type PinFault,
  type Sums,
} from "../../../src/domain/images/pins.ts";
import { projectRoot } from "../../../src/runtime/project.ts";

const real = readFileSync(join(projectRoot, "test/fixtures/ubuntu-signed-sums/SHA256SUMS"), "utf8");
const digest = (digit: string): string => digit.repeat(64);

function right<T extends object>(value: T | PinFault): T {
  assert.ok(!isFault(value), JSON.stringify(value));
  return value;
}
const fault = (value: object): string => (isFault(value) ? value.what : "no fault");

describe("a list of digests", () => {
  it("that Ubuntu has signed is read whole", () => assert.equal(right(parseSums(real)).size, 66));

  it("is read in both forms, whatever they are mixed with", () => {
    const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex"));
    const lines = fc.uniqueArray(
      fc.tuple(hex, fc.constantFrom(" ", "*"), fc.stringMatching(/^[a-z][a-z0-9.+-]{0,20}$/)),
      {
        minLength: 1,
        selector: ([, , file]) => file,
      },
    );
    fc.assert(
      fc.property(lines, fc.constantFrom("\n", "\r\n"), (all, end) => {
        const sums = right(parseSums(all.map(([sha256, mode, file]) => `${sha256} ${mode}${file}`).join(end)));
        assert.deepEqual(
          [...sums],
          all.map(([sha256, , file]) => [file, sha256]),
        );
      }),
    );
  });

  const wrong: [string, string, RegExp][] = [
    ["a page", "<html>\n</html>", /line 1 .* not a SHA-256/],
    ["nothing", "\n\n", /is empty/],
    ["MD5 digests", `${digest("a").slice(32)}  a.img`, /line 1/],
    ["a line without a name", `${digest("a")}  a.img\n${digest("b")}`, /line 2/],
    ["a path that leads out", `${digest("a")}  ../a.img`, /line 1/],
    ["two digests of one file", `${digest("a")}  a.img\n${digest("b")} *a.img`, /two digests of a\.img/],
  ];
  for (const [name, text, message] of wrong) it(`is not ${name}`, () => assert.match(fault(parseSums(text)), message));

  it("may name a file twice alike", () => {
    assert.equal(right(parseSums(`${digest("a")}  a.img\n${digest("a")} *a.img`)).size, 1);
  });
});

describe("the files of a release", () => {
  const sums = right(parseSums(real));

  it("are the image, its packages and its changes since the release before", () => {
    const files = right(baseFilesOf(sums, "amd64", "20260725"));
    assert.deepEqual(files, {
      image: {
        file: "ubuntu-24.04-server-cloudimg-amd64.img",
        sha256: "d1940f7d69d343355e183dff1e08a59852d32e7309baa7a4bad8365b11b005ac",
      },
      manifest: {
        file: "ubuntu-24.04-server-cloudimg-amd64.manifest",
        sha256: "57467c70fe63e13da8c261b503d45509bb8f589d00d5b55161c2764741272d90",
      },
      changelog: {
        file: "ubuntu-24.04-server-cloudimg-amd64.release.20260705.20260725.image_changelog.json",
        sha256: "28964b913edbc510bb7ab8b777e8a35d13684f4993d541a6f14048bf7ca174a0",
      },
    });
    assert.match(right(baseFilesOf(sums, "arm64", "20260725")).image.file, /arm64\.img$/);
  });

  it("are not those of another day or architecture", () => {
    assert.match(fault(baseFilesOf(sums, "amd64", "20260801")), /is of 20260725, and not of 20260801/);
    assert.match(fault(baseFilesOf(sums, "mips", "20260725")), /no one image of mips/);
    assert.match(
      fault(baseFilesOf(new Map([...sums].filter(([file]) => !file.endsWith("amd64.img"))), "amd64", "20260725")),
      /no one image/,
    );
  });

  it("were signed with it, not before", () => {
    const at = (time: string) => signatureFault(new Date(time), "20260725") === undefined;
    assert.deepEqual(
      [at("2026-07-25T22:34:07Z"), at("2026-07-24T14:00:00Z"), at("2026-07-23T23:00:00Z"), at("2026-10-01T00:00:00Z")],
      [true, true, false, true],
    );
  });

  it("are found by the names of folders, the newest last", () => {
    const names = [
      "../",
      "release/",
      "release-20260725/",
      "release-20260725.2",
      "release-20251001/",
      "release-20260725.1/",
      "release-2026/",
      "x-release-20270101/",
      "release-20270101-beta",
    ];
    assert.deepEqual(serialsOf(names), ["20251001", "20260725", "20260725.1", "20260725.2"]);
  });

  it("are not older than what is pinned", () => {
    assert.equal(olderFault("20260725", "20260725"), undefined);
    assert.equal(olderFault("20260725", "20260725.1"), undefined);
    assert.match(olderFault("20260725.1", "20260725")?.what ?? "", /20260725 is older than 20260725\.1/);
  });
});

describe("the artefacts of RKE2", () => {
  const files = leastArtefacts("amd64", ["canal", "none"]);
  const sums: Sums = new Map(files.map((file, index) => [file, digest(String(index))]));

  it("are at least the programs, and the container images of RKE2 and its network", () => {
    assert.deepEqual(files, [
      "rke2.linux-amd64.tar.gz",
      "rke2-images-core.linux-amd64.tar.zst",
      "rke2-images-core.linux-amd64.txt",
      "rke2-images-canal.linux-amd64.tar.zst",
      "rke2-images-canal.linux-amd64.txt",
    ]);
  });

  it("have the digests of the list, and none that is not in it", () => {
    assert.equal(right(artefactPins(sums, files, "v1"))[1]?.sha256, digest("1"));
    assert.match(fault(artefactPins(sums, [...files, "x"], "v1")), /RKE2 v1 has no x$/);
  });

  it("are those on which two sources agree", () => {
    const other = new Map(sums).set("rke2.linux-amd64.tar.gz", digest("f")).set("more", digest("e"));
    assert.match(
      disagreement(sums, other, files, ["a", "b"])?.what ?? "",
      /^a and b have other digests of rke2\.linux-amd64\.tar\.gz$/,
    );
    assert.equal(disagreement(sums, other, files.slice(1), ["a", "b"]), undefined);
    assert.notEqual(disagreement(sums, new Map(), files, ["a", "b"]), undefined);
  });
});

describe("an archive date", () => {
  it("is named as the archive names it", () =>
    assert.equal(archiveDateOf(new Date("2026-08-01T23:59:59Z")), "20260801T000000Z"));

  it("is refused until it has come", () => {
    const now = new Date("2026-11-30T12:00:00Z");
    const refused = (archiveDate: string) => futureFault(archiveDate, now) !== undefined;
    assert.deepEqual(["20261130T120000Z", "20261130T120001Z", "20270101T000000Z", "20260101T000000Z"].map(refused), [
      false,
      true,
      true,
      false,
    ]);
  });

  it("is watched from 21 months on, to the day", () => {
    const warned = (now: string) => ageWarning("20260801T120000Z", new Date(now)) !== undefined;
    assert.deepEqual(["2028-04-30T23:59:59Z", "2028-05-01T00:00:00Z", "2026-08-02T00:00:00Z"].map(warned), [
      false,
      true,
      false,
    ]);
  });
});
