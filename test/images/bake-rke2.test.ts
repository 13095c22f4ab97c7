/** The stages that bring RKE2 into an image, run by a shell in a directory that stands for a guest's disk. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { pack } from "tar-stream";
import { bakeOf } from "../support/bake.ts";
import { BakeGuest } from "../support/bake-guest.ts";

const text = (content: string): Uint8Array => new TextEncoder().encode(content);
const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("a bake takes RKE2 from files with the digests of the definition", () => {
  const images = ["docker.io/rancher/hardened-etcd:v3.5.26", "docker.io/rancher/pause:3.6"];
  const version = "v1.34.4+rke2r1";
  let guest: BakeGuest;
  afterEach(() => guest.remove());

  /** A release with its digests as they should be, and what is published of it. */
  async function release(published: { tags?: string[]; list?: string[]; program?: string; outside?: string } = {}) {
    const { tags = images.map((name) => name.replace("docker.io/", "")), list = images } = published;
    const program = published.program ?? `echo "rke2 version ${version} (0123456)"`;
    const binaries = await tarOf({
      "bin/rke2": `#!/bin/sh\n${program}\n`,
      "share/rke2/rke2-cis-sysctl.conf": "kernel.panic=10\n",
      ...(published.outside === undefined ? {} : { [published.outside]: "" }),
    });
    const archive = await tarOf({
      "manifest.json": JSON.stringify([{ Config: "a:b", RepoTags: tags }, { RepoTags: null }]),
    });
    return {
      "rke2.linux-amd64.tar.gz": binaries,
      "rke2-images-core.linux-amd64.tar.gz": archive,
      "rke2-images-core.linux-amd64.txt": text(list.map((name) => `${name}\n`).join("")),
    };
  }

  function publish(files: Record<string, Uint8Array>, named: Record<string, Uint8Array> = files): void {
    const artefacts = Object.entries(named).map(([file, bytes]) => ({ file, sha256: digestOf(bytes) }));
    const bake = bakeOf({ rke2: { version, cni: [], artefacts } });
    guest = new BakeGuest(bake);
    const folder = join(guest.folder, "release");
    mkdirSync(folder);
    for (const [file, bytes] of Object.entries(files)) writeFileSync(join(folder, file), bytes);
    const settings = readFileSync(join(guest.bake, "settings"), "utf8");
    writeFileSync(join(guest.bake, "settings"), `${settings}RKE2_ARTEFACTS='file://${folder}'\n`);
    mkdirSync(join(guest.root, "usr/local"), { recursive: true });
  }

  it("and unpack it", async () => {
    publish(await release());
    guest.pass("bake", "rke2", "hardening");
    assert.match(guest.get("usr/local/bin/rke2") ?? "", /rke2 version/);
    assert.equal(readFileSync(join(guest.bake, "images"), "utf8"), images.map((name) => `${name}\n`).join(""));
    assert.equal(guest.get("etc/sysctl.d/60-rke2-cis.conf"), "kernel.panic=10\n");
    assert.match(guest.get("etc/rancher/rke2/audit-policy.yaml") ?? "", /level: Metadata/);
  });

  it("and take the list of an archive by the release's sums, when the definition names those", async () => {
    const files = await release();
    const list = "rke2-images-core.linux-amd64.txt";
    const { [list]: bytes, ...others } = files;
    const sums = text(`${digestOf(bytes)}  ${list}\n`);
    publish({ ...files, "sha256sum-amd64.txt": sums }, { ...others, "sha256sum-amd64.txt": sums });
    guest.pass("bake", "rke2");
    guest.remove();
    const wrong = text(`${digestOf(text("other"))}  ${list}\n`);
    publish({ ...files, "sha256sum-amd64.txt": wrong }, { ...others, "sha256sum-amd64.txt": wrong });
    const result = guest.run("bake", [{ name: "rke2" }]);
    assert.ok(result.status === "failed");
    assert.match(result.command, /neither in the definition nor as the release's sums have it/);
  });

  const refused: [what: string, begin: () => Promise<void>, message: RegExp][] = [
    [
      "a file that is cut off",
      async () => {
        const files = await release();
        const cut = files["rke2.linux-amd64.tar.gz"].subarray(0, 100);
        publish({ ...files, "rke2.linux-amd64.tar.gz": cut }, files);
      },
      /rke2\.linux-amd64\.tar\.gz is not the one of the definition/,
    ],
    [
      "a file that is not there",
      async () => {
        const files = await release();
        const { "rke2-images-core.linux-amd64.txt": list, ...others } = files;
        assert.ok(list.length > 0);
        publish(others, files);
      },
      /^curl .*rke2-images-core\.linux-amd64\.txt/,
    ],
    [
      "an archive without an image of its list",
      async () => publish(await release({ tags: ["rancher/pause:3.6"] })),
      /does not hold the images of its list/,
    ],
    [
      "an archive with an image more than its list",
      async () => publish(await release({ list: ["docker.io/rancher/pause:3.6"] })),
      /does not hold the images of its list/,
    ],
    [
      "binaries outside of their folders",
      async () => publish(await release({ outside: "etc/passwd" })),
      /has files outside/,
    ],
    [
      "binaries at paths of their own",
      async () => publish(await release({ outside: "/etc/passwd" })),
      /has files outside/,
    ],
    [
      "binaries that climb",
      async () => publish(await release({ outside: "bin/../../etc/passwd" })),
      /has files outside/,
    ],
    [
      "another version",
      async () => publish(await release({ program: 'echo "rke2 version v1.34.5+rke2r1 (0)"' })),
      /refuse RKE2 says that it is: rke2 version v1\.34\.5/,
    ],
  ];
  for (const [what, prepare, message] of refused)
    it(`and refuse ${what}`, async () => {
      await prepare();
      const result = guest.run("bake", [{ name: "rke2" }]);
      assert.ok(result.status === "failed", what);
      assert.match(result.command, message);
    });
});

async function tarOf(files: Record<string, string>): Promise<Uint8Array> {
  const archive = pack();
  for (const [name, content] of Object.entries(files)) archive.entry({ name, mode: 0o755 }, content);
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive) parts.push(part as Buffer);
  return gzipSync(Buffer.concat(parts));
}
