import assert from "node:assert/strict";
import { newestKernel, readDpkgStatus } from "../../../src/domain/images/dpkg-status.ts";

const entry = (name: string, status: string, version = "1.0-1", more = ""): string =>
  `Package: ${name}\nStatus: ${status}\nPriority: optional\n${more}Architecture: amd64\nVersion: ${version}\nDescription: a package\n It goes on.\n Version: 9.9 is no field\n`;
const read = (...entries: string[]) => readDpkgStatus(`${entries.join("\n")}\n`);

describe("dpkg's list of packages", () => {
  const states: [string, boolean, string | undefined][] = [
    ["install ok installed", true, undefined],
    ["hold ok installed", true, undefined],
    ["install ok triggers-awaiting", true, undefined],
    ["install ok triggers-pending", true, undefined],
    ["deinstall ok config-files", false, undefined],
    ["purge ok not-installed", false, undefined],
    ["install ok half-configured", true, "half-configured"],
    ["install ok unpacked", true, "unpacked"],
    ["install reinstreq half-installed", true, "reinstreq"],
  ];
  for (const [status, isThere, broken] of states)
    it(`has ${isThere ? "the" : "no"} package that is "${status}"${broken ? ", which is broken" : ""}`, () => {
      const found = read(entry("a", "install ok installed"), entry("b", status, "2:1.0~rc1-0ubuntu1"));
      const b = { name: "b", version: "2:1.0~rc1-0ubuntu1", architecture: "amd64" };
      assert.deepEqual(
        found.packages.filter(({ name }) => name === "b"),
        isThere ? [b] : [],
      );
      assert.deepEqual(found.broken, broken ? [{ name: "b", state: broken }] : []);
    });

  it("has a package twice in two architectures", () => {
    const other = entry("a", "install ok installed").replace("amd64", "i386");
    assert.deepEqual(
      read(entry("a", "install ok installed"), other).packages.map(({ architecture }) => architecture),
      ["amd64", "i386"],
    );
  });

  const unreadable = [
    "",
    "\n\n",
    "Package: a\n",
    "Status: install ok installed\nVersion: 1\n",
    "Package: a\nStatus: x\n",
  ];
  for (const text of [...unreadable, "Package: a\nStatus: install ok installed\nArchitecture: all\n"])
    it(`is nothing that is known: ${JSON.stringify(text)}`, () =>
      assert.throws(() => readDpkgStatus(text), /dpkg's list/));
});

describe("the newest kernel", () => {
  const kernel = (name: string, version: string) => ({ name, version, architecture: "amd64" });
  const cases: [string, string, ReturnType<typeof kernel>[], string | undefined][] = [
    ["none is installed", "6.8.0-60-generic", [kernel("linux-image-generic", "6.8.0-71.71")], undefined],
    [
      "the order is that of versions, not of letters",
      "6.8.0-9-generic",
      [kernel("linux-image-6.8.0-9-generic", "6.8.0-9.9"), kernel("linux-image-6.8.0-71-generic", "6.8.0-71.71")],
      "6.8.0-71-generic",
    ],
    [
      "kernels without a signature count",
      "6.8.0-60-generic",
      [kernel("linux-image-unsigned-6.8.0-71-generic", "6.8.0-71.71")],
      "6.8.0-71-generic",
    ],
    [
      "another flavour does not count",
      "6.8.0-60-generic",
      [
        kernel("linux-image-6.11.0-19-lowlatency", "6.11.0-19.19"),
        kernel("linux-image-6.8.0-60-generic", "6.8.0-60.60"),
      ],
      "6.8.0-60-generic",
    ],
    [
      "Debian's names are read too",
      "6.12.41+deb13-amd64",
      [kernel("linux-image-6.12.43+deb13-amd64", "6.12.43-1"), kernel("linux-image-amd64", "6.12.43-1")],
      "6.12.43+deb13-amd64",
    ],
  ];
  for (const [title, running, packages, newest] of cases)
    it(title, () => assert.equal(newestKernel(packages, running), newest));
});
