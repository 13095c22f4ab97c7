import assert from "node:assert/strict";
import { baseDiffLines, diffBases, type PinnedBase } from "../../../src/domain/images/base-diff.ts";

const base = (serial: string, curl: string, changes: Partial<PinnedBase> = {}): PinnedBase => ({
  serial,
  packages: [{ name: "curl", version: curl, architecture: "amd64" }],
  changelog: undefined,
  ...changes,
});
const cve = (id: string, priority: string) => ({ id, priority, packages: ["curl"] });
const log = (from: string, to: string, ...priorities: string[]) => ({
  changelog: { from, to, cves: priorities.map((priority, index) => cve(`CVE-2026-100${index}`, priority)) },
});

describe("the difference of two base images", () => {
  const old = base("20260705", "8.5.0-2ubuntu10.6");

  it("has the packages, and what the newer one clears, the most severe first", () => {
    const young = base(
      "20260725",
      "8.5.0-2ubuntu10.10",
      log("20260705", "20260725", "low", "medium", "unheard-of", "critical", "medium"),
    );
    assert.deepEqual(baseDiffLines(diffBases(old, young)), [
      "packages of the base image 20260705 -> 20260725: 1 differences",
      "  ~ curl 8.5.0-2ubuntu10.6 -> 8.5.0-2ubuntu10.10",
      "vulnerabilities that the newer base image clears: 5",
      "  CVE-2026-1003 (critical): curl",
      "  CVE-2026-1001 (medium): curl",
      "  CVE-2026-1004 (medium): curl",
      "  CVE-2026-1000 (low): curl",
      "  CVE-2026-1002 (unheard-of): curl",
    ]);
  });

  it("says what the changelog does not cover, and does not say that nothing was cleared", () => {
    const gaps = [
      diffBases(old, base("20260801", "9", log("20260725", "20260801", "high"))),
      diffBases(old, base("20260801", "9", log("20260705", "20260725", "high"))),
      diffBases(old, base("20260801", "9")),
    ];
    assert.match(gaps[0]?.gap ?? "", /is of 20260725 to 20260801/);
    assert.match(gaps[1]?.gap ?? "", /is of 20260705 to 20260725/);
    assert.deepEqual([gaps[2]?.cves, gaps[2]?.gap], [undefined, "no changelog of 20260801 is among its pins"]);
  });

  it("clears nothing on the way back", () => {
    const young = base("20260725", "8.5.0-2ubuntu10.10", log("20260705", "20260725", "high"));
    assert.deepEqual(baseDiffLines(diffBases(young, { ...old, ...log("20260701", "20260705", "high") })), [
      "packages of the base image 20260725 -> 20260705: 1 differences",
      "  ~ curl 8.5.0-2ubuntu10.10 -> 8.5.0-2ubuntu10.6 (downgraded)",
    ]);
  });

  it("is none of an image with itself", () => assert.deepEqual(baseDiffLines(diffBases(old, old)), []));
});
