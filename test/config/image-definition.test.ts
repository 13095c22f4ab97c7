import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readImageDefinition } from "../../src/config/image-definition.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { definitionIn, entry, exampleFolder, exampleText, readAs } from "../support/image-folder.ts";

describe("the definition of an image", () => {
  it("is read from its folder, with the bytes of its files", () => {
    const { definition, contents } = readImageDefinition(exampleFolder);
    assert.deepEqual(
      [definition.name, definition.version, definition.base.serial, definition.rke2.artefacts.length],
      ["ubuntu-24-04-rke2", "v1.0.0", "20260725", 4],
    );
    assert.deepEqual(
      [definition.files, definition.tests].flat().map(({ path, mode }) => `${path} ${mode}`),
      ["/etc/systemd/journald.conf.d/10-size.conf 0644", "multipath 0755", "volumes 0755"],
    );
    for (const { sha256 } of [...definition.files, ...definition.tests]) assert.ok(contents.has(sha256));
    assert.equal(definition.sysctl["fs.inotify.max_user_watches"], "524288");
  });

  it("of the repository pins a base image as the list has it that Ubuntu's key has signed", () => {
    const { base } = readImageDefinition(exampleFolder).definition;
    const sums = readFileSync(join(projectRoot, "test/fixtures/ubuntu-signed-sums/SHA256SUMS"), "utf8");
    assert.ok(sums.split("\n").includes(`${base.sha256} *${base.url.split("/").at(-1) ?? ""}`));
  });

  it("has the defaults of what it leaves out", () => {
    const bare = exampleText.slice(0, exampleText.indexOf("kernel:")).replace("cni: [canal]", "");
    const { kernel, sysctl, hardening, ssh, hold, rke2, services } = definitionIn(readAs(bare));
    assert.deepEqual(
      { kernel, sysctl, hardening, ssh, hold, cni: rke2.cni, services },
      {
        kernel: { parameters: [], modules: [] },
        sysctl: {},
        hardening: "none",
        ssh: false,
        hold: [],
        cni: ["canal"],
        services: { enable: [], mask: [] },
      },
    );
  });

  it("has its name from the folder, with or without the version", () => {
    for (const folder of ["ubuntu-24-04-rke2", "ubuntu-24-04-rke2-v1.0.0"])
      assert.equal(definitionIn(readAs(exampleText, [], folder)).name, "ubuntu-24-04-rke2");
    assert.equal(definitionIn(readAs(exampleText, [], "ubuntu-24.04")).name, "ubuntu-24.04");
  });

  it("writes digests in small letters and fingerprints in capitals", () => {
    const other = exampleText
      .replaceAll(/[0-9a-f]{64}/g, (digest) => digest.toUpperCase())
      .replace("D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81", (fingerprint) => fingerprint.toLowerCase());
    const { base, rke2 } = definitionIn(readAs(other));
    for (const { sha256 } of rke2.artefacts) assert.match(sha256, /^[0-9a-f]{64}$/);
    assert.match(base.sha256, /^[0-9a-f]{64}$/);
    assert.match(base.signedBy, /^[0-9A-F]{40}$/);
  });

  it("has the modes that it gives its files", () => {
    const files = [entry("files/etc/a", "a"), entry("files/etc/b", "b"), entry("files/usr/local/bin/c", "c", true)];
    const { files: read } = definitionIn(readAs(`${exampleText}modes:\n  /etc/b: "0640"\n`, files));
    assert.deepEqual(
      read.map(({ path, mode }) => [path, mode]),
      [
        ["/etc/a", "0644"],
        ["/etc/b", "0640"],
        ["/usr/local/bin/c", "0755"],
      ],
    );
  });

  it("runs scripts in the order of their names", () => {
    const scripts = ["20-b", "10-c", "9-a"].map((name) => entry(`scripts/${name}`, "#!/bin/sh\n"));
    assert.deepEqual(
      definitionIn(readAs(exampleText, scripts)).scripts.map(({ path }) => path),
      ["10-c", "20-b", "9-a"],
    );
  });
});
