import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guest } from "../../images/contract.ts";
import { readImageDefinition } from "../../src/config/image-definition.ts";
import type { FolderEntry } from "../../src/config/image-files.ts";
import { LIMITS } from "../../src/config/image-folder.ts";
import { refused } from "../support/config.ts";
import { definitionIn, entry, exampleText, faultsIn, readAs } from "../support/image-folder.ts";

describe("the files of a definition", () => {
  const script = "#!/bin/sh\n";
  type Case = [title: string, entry: FolderEntry, says: RegExp, line?: number];
  const cases: Case[] = [
    ["a blank in a path", entry("files/etc/a b", ""), /letters, digits/],
    ["a way up", entry("files/etc/../passwd", ""), /path of a file is not possible/],
    ["a control character", entry("files/etc/a\nb", ""), /path of a file is not possible/],
    ["join data in an image", entry("files/etc/evergreen/join.yaml", ""), /Evergreen's own files/],
    ["configuration of RKE2", entry("files/etc/rancher/rke2/config.yaml.d/10.yaml", ""), /join data/],
    ["manifests of RKE2", entry("files/var/lib/rancher/rke2/server/manifests/a.yaml", ""), /cannot come from files/],
    ["another RKE2", entry("files/usr/local/bin/rke2", "", true), /comes from its artefacts/],
    ["a machine id", entry("files/etc/machine-id", ""), /each clone has its own/],
    ["a host key", entry("files/etc/ssh/ssh_host_ed25519_key.pub", ""), /each clone has its own/],
    ["passwords", entry("files/etc/shadow", ""), /accounts/],
    ["what a boot forgets", entry("files/run/a", ""), /next boot/],
    ["a script in a folder", entry("scripts/a/b", script), /right into scripts/],
    ["a script in capitals", entry("tests/Agent", script), /right into tests/],
    ["a script of nothing", entry("scripts/10-a", "echo\n"), /does not say what runs it/, 1],
    ["a script with CR LF", entry("tests/a", `${script}true\r\n`), /CR LF/, 2],
    [
      "a private key",
      entry("files/etc/ssl/a.pem", "x\n-----BEGIN RSA PRIVATE KEY-----\n"),
      /looks like a private key/,
      2,
    ],
    [
      "a kubeconfig",
      entry("files/root/.kube/config", "a\nb\nc: LS0tLS1CRUdJTiBFQyBQUklWQVRF\n"),
      /looks like a private key/,
      3,
    ],
    [
      "a server token",
      entry("scripts/a", `${script}t=K10${"a1".repeat(32)}::server:x\n`),
      /looks like a token of RKE2/,
      2,
    ],
    [
      "a token for the service",
      entry("files/etc/default/rke2-agent", "A=1\nRKE2_TOKEN=x\n"),
      /looks like a token of RKE2/,
      2,
    ],
    [
      "the hash of a password",
      entry("scripts/a", `${script}usermod -p '$y$j9T$0123456789abcdefghij$${"a".repeat(43)}' root\n`),
      /looks like the hash of a password/,
      2,
    ],
    [
      "a token of GitHub",
      entry("tests/a", `${script}\ntoken=ghp_${"a".repeat(36)}\n`),
      /looks like a token of GitHub/,
      3,
    ],
    [
      "credentials of a registry",
      entry("files/etc/rancher/rke2/registries.yaml", "configs:\n  a:\n    auth:\n      password: x\n"),
      /credentials of a registry/,
      4,
    ],
  ];
  for (const [title, wrong, says, line] of cases)
    it(`are refused: ${title}`, () => {
      const faults = faultsIn(readAs(exampleText, [wrong]));
      assert.deepEqual(
        faults.map(({ file, place }) => [file, place?.line]),
        [[wrong.path, line]],
      );
      assert.match(`${faults[0]?.what ?? ""}\n${faults[0]?.todo ?? ""}`, says);
    });

  it("may be what a site needs: mirrors, certificates, drop-ins", () => {
    const files = [
      entry(
        "files/etc/rancher/rke2/registries.yaml",
        "mirrors:\n  docker.io:\n    endpoint: [https://mirror.example.com]\n",
      ),
      entry("files/usr/local/share/ca-certificates/site.crt", "-----BEGIN CERTIFICATE-----\n"),
      entry("files/etc/systemd/system/rke2-server.service.d/proxy.conf", "[Service]\n"),
      entry("files/etc/apt/sources.list.d/site.sources", "Types: deb\n"),
      entry("files/etc/systemd/system/dev-disk-by\\x2did.mount", ""),
      entry("README.md", "# ours\n"),
    ];
    assert.equal(definitionIn(readAs(exampleText, files)).files.length, 5);
  });

  it("may be nothing that the contract keeps for the steps", () => {
    const paths = Object.values(guest).map((path) => (path.endsWith("-") ? `${path}0.pem` : path));
    for (const path of paths) {
      const faults = faultsIn(readAs(exampleText, [entry(`files${path}`, "")]));
      assert.equal(faults.length, 1, path);
    }
  });
});

describe("the folder of a definition", () => {
  let folder: string;
  const write = (path: string, content: string | Uint8Array): void => {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), content);
  };
  beforeEach(() => {
    folder = join(mkdtempSync(join(tmpdir(), "image-")), "ubuntu-24-04-rke2");
    write("image.yaml", exampleText);
  });
  afterEach(() => rmSync(join(folder, ".."), { recursive: true }));

  it("gives an executable file its mode, whatever the umask of the checkout was", () => {
    write("files/usr/local/bin/a", "");
    write("files/etc/b", "");
    chmodSync(join(folder, "files/usr/local/bin/a"), 0o700);
    chmodSync(join(folder, "files/etc/b"), 0o600);
    assert.deepEqual(
      readImageDefinition(folder).definition.files.map(({ mode }) => mode),
      ["0644", "0755"],
    );
  });

  it("may have evidence of its pins, of any size, and a README", () => {
    const { definition } = readImageDefinition(folder);
    write("pins/20260725/changelog.json", Buffer.alloc(LIMITS.fileBytes + 1));
    write("README.md", "# ours\n");
    assert.deepEqual(readImageDefinition(folder).definition, definition);
  });

  it("is named by itself, with a slash at its end too", () => {
    assert.equal(readImageDefinition(`${folder}/`).definition.name, "ubuntu-24-04-rke2");
  });

  it("says one thing of an image.yaml that cannot be read", () => {
    rmSync(join(folder, "image.yaml"));
    symlinkSync("/etc/passwd", join(folder, "image.yaml"));
    assert.deepEqual(
      refused(() => readImageDefinition(folder)).map(({ what }) => what.slice(0, 15)),
      ["a symbolic link"],
    );
  });

  type Case = [title: string, make: () => void, where: RegExp, says: RegExp];
  const cases: Case[] = [
    ["a file that nothing reads", () => write("image.yml", ""), /image\.yml$/, /did you mean "image\.yaml"/],
    ["a folder that nothing reads", () => write("script/a", ""), /script\/a$/, /did you mean "scripts"/],
    [
      "a symbolic link",
      () => {
        mkdirSync(join(folder, "files"));
        symlinkSync("/etc/passwd", join(folder, "files/a"));
      },
      /files\/a$/,
      /symbolic link/,
    ],
    ["a symbolic link to a folder", () => symlinkSync("/etc", join(folder, "files")), /files$/, /symbolic link/],
    ["a large file", () => write("files/a", Buffer.alloc(LIMITS.fileBytes + 1)), /files\/a$/, /too large/],
    ["a large image.yaml", () => write("image.yaml", "#".repeat(LIMITS.keysBytes + 1)), /image\.yaml$/, /too large/],
    [
      "too many files",
      () => {
        for (let i = 0; i <= LIMITS.files; i++) write(`files/etc/a/${i}`, "");
      },
      /files\//,
      /at most 1000 files/,
    ],
    [
      "a wrong key",
      () => write("image.yaml", exampleText.replace("ion: v1.0.0", "ion: v1")),
      /ubuntu-24-04-rke2\/image\.yaml:2:10 \(version\)$/,
      /not possible/,
    ],
  ];
  for (const [title, make, where, says] of cases)
    it(`is refused with its place: ${title}`, () => {
      make();
      const problems = refused(() => readImageDefinition(folder));
      const problem = problems.find((one) => says.test(`${one.what}\n${one.todo}`));
      assert.ok(problem, JSON.stringify(problems));
      assert.match(problem.where, where);
    });
});
