import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readImageDefinition } from "../../src/config/image-definition.ts";
import { refused } from "../support/config.ts";
import { edited, exampleText, faultsIn, readAs } from "../support/image-folder.ts";

/** Line and column, from 1, at which a text has a part. */
function placeOf(text: string, part: string): { line: number; column: number } {
  const before = text.slice(0, text.indexOf(part)).split("\n");
  return { line: before.length, column: (before.at(-1) ?? "").length + 1 };
}

describe("a wrong definition", () => {
  const SHA = "d1940f7d69d343355e183dff1e08a59852d32e7309baa7a4bad8365b11b005ac";
  const URL = "https://cloud-images.ubuntu.com/releases/noble/release-20260725/ubuntu-24.04-server-cloudimg-amd64.img";
  const PROGRAM = "rke2.linux-amd64.tar.gz: 7bcbd3167d6947e1d79cdf722acdc740b28021fefb50dd5b974a1980776d4079";
  /** What is wrong, the edit of the example, the text at whose beginning it is found, and what is said about it. */
  type Case = [title: string, from: string, to: string, at: string, says: RegExp];
  const cases: Case[] = [
    ["an unknown key", "packages:", "pakages:", "pakages:", /"pakages" is unknown[^]*did you mean "packages"/],
    ["an unknown key below another", "  signedBy:", "  signed: x\n  signedBy:", "signed: x", /did you mean "signedBy"/],
    ["no version", "version: v1.0.0", "hold: []", "hold: []", /a value is missing/],
    ["a version with a word", "version: v1.0.0", "version: latest", "latest", /version such as v1\.2\.0/],
    ["a version of two numbers", "version: v1.0.0", "version: 1.0", "1.0", /1\.0 as the number 1/],
    ["no archive date", "archiveDate: 20260901T000000Z", "", "version", /a value is missing/],
    ["a date that there is not", "20260901T", "20260931T", "20260931T", /a moment that there is/],
    ["a date without time", "20260901T000000Z", "20260901", "20260901", /a string|a moment of the archive/],
    ["an archive older than the base", "20260901T", "20260724T", "20260724T", /older than the base image of 20260725/],
    ["a short digest", SHA, SHA.slice(1), SHA.slice(1), /64 hexadecimal digits/],
    ["a digest of another kind", SHA, `${SHA}${SHA}`, `${SHA}${SHA}`, /64 hexadecimal digits/],
    ["a placeholder of a digest", SHA, `"${"0".repeat(64)}"`, `"${"0".repeat(64)}"`, /stands in for it/],
    ["a digest that YAML reads as a number", SHA, "1".repeat(64), "1".repeat(64), /as the number 1\.1/],
    [
      "a short fingerprint",
      "D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81",
      "1A5D6C4C7DB87C81",
      "1A5D6",
      /whole fingerprint/,
    ],
    ["an address without TLS", "https://cloud", "http://cloud", "http://cloud", /https:/],
    [
      "an address that moves",
      "release-20260725/",
      "release/",
      URL.replace("release-20260725/", "release/"),
      /release\/ changes/,
    ],
    [
      "the address of the newest daily",
      "releases/noble/release-20260725",
      "noble/current",
      "https://",
      /current\/ changes/,
    ],
    ["the address of a daily", "releases/noble/release-20260725", "noble/20260725", "https://", /dailies are removed/],
    [
      "an address with a date that there is not",
      "release-20260725/",
      "release-20261325/",
      "https://",
      /one release by its date/,
    ],
    ["an address without a date", "release-20260725/", "mine/", "https://", /one release by its date/],
    ["an address of a folder", "amd64.img", "amd64/", "https://", /name of an image/],
    ["no address", URL, "somewhere", "somewhere", /address of a file/],
    [
      "a package with a version",
      "- nfs-common",
      "- nfs-common=1.2",
      "nfs-common=1.2",
      /archiveDate decides the version/,
    ],
    ["a package that apt would remove", "- nfs-common", "- nfs-common-", "nfs-common- ", /name of a Debian package/],
    ["a package in capitals", "- nfs-common", "- NFS", "NFS", /name of a Debian package/],
    ["a package twice", "- open-iscsi", "- nfs-common", "nfs-common # volumes of iSCSI", /once/],
    ["a package of every image", "- nfs-common", "- curl", "curl", /every image has it/],
    ["a server that is not wanted", "- nfs-common", "- openssh-server", "openssh-server", /ssh is false/],
    ["an RKE2 version without revision", "version: v1.36.4+rke2r1", "version: v1.36.4", "v1.36.4", /v1\.36\.4\+rke2r1/],
    ["no programs", `    ${PROGRAM}\n`, "", "artefacts:", /no artefact has the programs/],
    [
      "a list without its archive",
      PROGRAM,
      `${PROGRAM}\n    rke2-images-calico.linux-amd64.txt: ${SHA}`,
      "rke2-images-calico",
      /list of an archive that is not/,
    ],
    [
      "lists of nobody",
      "sha256sum-amd64.txt",
      "rke2-images-core.linux-amd64.txt",
      "rke2-images-canal",
      /comes without its list/,
    ],
    ["a file of no use", "sha256sum-amd64.txt", "install.sh", "install.sh", /no file of a release that a bake uses/],
    ["a plugin without images", "cni: [canal]", "cni: [canal, cilium]", "cilium]", /cni has cilium/],
    ["no plugin and one", "cni: [canal]", "cni: [canal, none]", "[canal, none]", /cni has none and a plugin/],
    ["another plugin", "cni: [canal]", "cni: [weave]", "weave", /canal, calico/],
    [
      "two architectures",
      "rke2-images-canal.linux-amd64",
      "rke2-images-canal.linux-arm64",
      "artefacts:",
      /amd64 and arm64/,
    ],
    ["another architecture than the base", "cloudimg-amd64", "cloudimg-arm64", "artefacts:", /base image is for arm64/],
    ["a disk of nothing", "diskGiB: 16", "diskGiB: 1", "1\n\n# RKE2", /at least 4/],
    ["a kernel setting of two lines", "max_user_watches: 524288", 'max_user_watches: "1\\n2"', '"1\\n2"', /one line/],
    ["a kernel setting in octal", "max_user_watches: 524288", "max_user_watches: 010", "010", /010 as the number 10/],
    [
      "a kernel setting without a name",
      "fs.inotify.max_user_watches:",
      "watches:",
      "watches:",
      /the key "watches" is not possible/,
    ],
    [
      "a kernel setting against the profile",
      "fs.inotify.max_user_watches: 524288",
      "vm.panic_on_oom: 1",
      "1\nhardening",
      /is 1, and RKE2 does not start[^]*unless it is 0/,
    ],
    [
      "a module with a blank",
      "[br_netfilter, overlay]",
      '["br netfilter"]',
      '"br netfilter"',
      /name of a kernel module/,
    ],
    [
      "a parameter that starts another system",
      "modules: [br",
      "parameters: [quiet, init=/bin/sh]\n  modules: [br",
      "init=/bin/sh",
      /not an image's to choose/,
    ],
    [
      "a parameter that a shell would run",
      "modules: [br",
      "parameters: [a=$(reboot)]\n  modules: [br",
      "a=$(reboot)",
      /letters, digits and/,
    ],
    [
      "a parameter with a quote",
      "modules: [br",
      "parameters: ['a=\"b\"']\n  modules: [br",
      "'a=\"b\"'",
      /letters, digits and/,
    ],
    ["a service that is no unit", "[iscsid.service]", "[iscsid]", "iscsid]", /whole name of a unit/],
    ["a service of RKE2", "[iscsid.service]", "[rke2-server.service]", "rke2-server.service", /switched by Evergreen/],
    ["updates behind the back", "[iscsid.service]", "[apt-daily.timer]", "apt-daily.timer", /behind the back/],
    [
      "a service on and off",
      "mask: [multipathd.service",
      "mask: [iscsid.service",
      "iscsid.service, ",
      /both enabled and masked/,
    ],
    [
      "no agent",
      "multipathd.socket]",
      "qemu-guest-agent.service]",
      "qemu-guest-agent.service]",
      /switched by Evergreen/,
    ],
    ["hardening of another kind", "hardening: cis", "hardening: stig", "stig", /one of: none, cis/],
    ["a mode in octal", "hardening: cis", "modes: { /etc/a: 0640 }", "0640", /0640 as the number 640/],
    ["a mode for nothing", "hardening: cis", 'modes: { /etc/a: "0640" }', "/etc/a", /no file of files/],
    ["a mode for everybody", "hardening: cis", 'modes: { /etc/a: "0666" }', '"0666"', /not let everybody write/],
    [
      "a key twice",
      "hardening: cis",
      "hardening: cis\nhardening: none",
      "hardening: none",
      /cannot be read as YAML: Map keys must be unique/,
    ],
    ["an alias", "hardening: cis", "hardening: &a cis\nhold: [*a]", "*a", /an alias \(\*a\)/],
    ["a tag", "hardening: cis", "hardening: !!str cos", "cos", /a tag of YAML/],
    ["a key that is no text", "hardening: cis", "1: cis", "1: cis", /a key of the file is no text/],
    ["a list where a map belongs", "services:\n", "services: []\nx:\n", "[]\nx", /it must be a map/],
    ["nothing in a list", "- nfs-common # volumes of NFS", "-", "\n  - open-iscsi", /a string/],
    ["an indentation", "  sha256:", "   sha256:", "https", /cannot be read as YAML/],
    ["a second document", "hardening: cis", "---\nhardening: cis", "---", /multiple documents/],
    [
      "a private key",
      "hardening: cis",
      "hardening: |\n  -----BEGIN OPENSSH PRIVATE KEY-----",
      "-----BEGIN",
      /looks like a private key/,
    ],
    ["a password in the address", "https://cloud", "https://me:pass@cloud", "https://me", /looks like a password/],
  ];
  for (const [title, from, to, at, says] of cases)
    it(`is refused where it is wrong: ${title}`, () => {
      const text = edited(from, to);
      const faults = faultsIn(readAs(text));
      assert.ok(faults.length > 0, "it is refused");
      const said = faults.find(({ what, todo }) => says.test(`${what}\n${todo}`));
      assert.ok(said, JSON.stringify(faults));
      assert.equal(said.file, "image.yaml");
      assert.deepEqual(said.place, placeOf(text, at), JSON.stringify(said));
    });

  it("says nothing of a secret but where it is", () => {
    const text = edited("https://cloud", "https://me:hunter2@cloud");
    assert.doesNotMatch(JSON.stringify(faultsIn(readAs(text))), /hunter2/);
  });

  it("is refused when its folder names another version, or no name of a template", () => {
    for (const [folder, says] of [
      ["ubuntu-24-04-rke2-v1.1.0", /folder says v1\.1\.0[^]*rename the folder to ubuntu-24-04-rke2-v1\.0\.0/],
      ["Ubuntu", /no template can have/],
      ["a..b", /no template can have/],
      ["x".repeat(60), /at most 50/],
    ] as const) {
      const [fault] = faultsIn(readAs(exampleText, [], folder));
      assert.match(`${fault?.what ?? ""} ${fault?.todo ?? ""}`, says);
    }
  });

  it("is refused without an image.yaml", () => {
    const folder = mkdtempSync(join(tmpdir(), "image-"));
    try {
      const [problem] = refused(() => readImageDefinition(folder));
      assert.match(problem?.what ?? "", /has no image\.yaml/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("is refused for bytes that are no UTF-8, at the first of them", () => {
    const bytes = Buffer.concat([Buffer.from("version: v1.0.0\nbase: "), Buffer.from([0xc3, 0x28])]);
    assert.deepEqual(
      faultsIn(readAs(bytes)).map(({ what, place }) => [what, place]),
      [["the file is not UTF-8", { line: 2, column: 7 }]],
    );
  });

  it("is refused for maps in maps without end", () => {
    const [fault] = faultsIn(readAs("[".repeat(100_000)));
    assert.match(fault?.what ?? "", /cannot be read as YAML/);
  });
});
