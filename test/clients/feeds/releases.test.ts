import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readRke2Release, releaseFolder } from "../../../src/clients/feeds/rke2-release.ts";
import { readUbuntuKey, UBUNTU_KEY, verifySignature } from "../../../src/clients/feeds/signature.ts";
import { mirrorAt, UPSTREAM } from "../../../src/clients/feeds/source.ts";
import { findUbuntuRelease, type UbuntuQuery } from "../../../src/clients/feeds/ubuntu-release.ts";
import { IMAGE, releaseOf, siteKey, type SiteKey } from "./publish.ts";
import { deadline, realSignature, realSums, sha256, withWeb } from "./web.ts";

const NOW = new Date("2026-08-02T00:00:00Z");
const releases = new URL("https://cloud-images.ubuntu.com/releases/noble/");
const folder = "/cloud-images.ubuntu.com/releases/noble/release-20260725/";
describe("a release of Ubuntu's cloud images", () => {
  const web = withWeb();

  /** Puts a release of a site's own key on the server. */
  async function publish(serial: string, key: SiteKey, signedAt?: Date) {
    const { sums, files } = releaseOf(serial);
    const there = folder.replace("20260725", serial);
    for (const [name, text] of Object.entries(files)) web.files.set(there + name, text);
    web.files.set(`${there}SHA256SUMS`, sums);
    web.files.set(`${there}SHA256SUMS.gpg`, await key.sign(sums, signedAt));
  }

  const query = (changes: Partial<UbuntuQuery>): UbuntuQuery => ({
    ...{
      source: mirrorAt(web.root),
      releases,
      serial: "20260725",
      architecture: "amd64",
      keys: "",
      fingerprint: UBUNTU_KEY,
    },
    ...{ cache: web.cache, now: NOW, deadline: deadline(), ...changes },
  });
  const by = ({ armored, fingerprint }: SiteKey, changes: Partial<UbuntuQuery> = {}) =>
    query({ keys: armored, fingerprint, ...changes });

  it("that is real is taken by Ubuntu's key of this repository, and no other byte of it", async () => {
    const signed = { keys: await readUbuntuKey(), fingerprint: UBUNTU_KEY, where: "x", now: NOW };
    const at = await verifySignature({ ...signed, content: realSums, signature: realSignature });
    assert.equal(at.toISOString(), "2026-07-25T22:34:07.000Z");
    const tampered = Buffer.from(realSums);
    tampered.writeUInt8(tampered.readUInt8(3) ^ 1, 3);
    await assert.rejects(verifySignature({ ...signed, content: tampered, signature: realSignature }), /does not fit/);
  });

  it("is the newest of its folder, with what the pin rests on", async () => {
    const key = await siteKey();
    for (const serial of ["20260705", "20260725", "20260725.1"]) await publish(serial, key);
    web.files.set(
      "/cloud-images.ubuntu.com/releases/noble/",
      `<a href="../">up</a><a href="release-20260725.1/">x</a><a href="release-20260705/">x</a><a href="release/">x</a><a href="release-20260725/">`,
    );
    const found = await findUbuntuRelease(by(key, { serial: undefined }));
    assert.equal(found.serial, "20260725.1");
    assert.equal(found.url, `https://cloud-images.ubuntu.com/releases/noble/release-20260725.1/${IMAGE}`);
    assert.equal(found.sha256, sha256("image of 20260725.1"));
    assert.deepEqual(
      [...found.evidence.keys()],
      [
        "SHA256SUMS",
        "SHA256SUMS.gpg",
        "ubuntu-24.04-server-cloudimg-amd64.manifest",
        "ubuntu-24.04-server-cloudimg-amd64.release.20260705.20260725.1.image_changelog.json",
      ],
    );
    const sent = web.asked.length;
    await findUbuntuRelease(by(key, { serial: "20260725.1" }));
    assert.equal(web.asked.length - sent, 2, "the manifest and the changelog come from the cache");
  });

  it("is read of a mirror that is a folder", async () => {
    const key = await siteKey();
    const disk = join(web.cache, "mirror");
    const { sums, files } = releaseOf("20260725");
    const all = { ...files, SHA256SUMS: sums, "SHA256SUMS.gpg": await key.sign(sums) };
    for (const [name, bytes] of Object.entries(all)) {
      const path = join(disk, folder, name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, bytes);
    }
    const found = await findUbuntuRelease(by(key, { source: mirrorAt(disk), serial: undefined }));
    assert.equal(found.serial, "20260725");
  });

  it("of which a list is tampered with is refused", async () => {
    const key = await siteKey();
    await publish("20260725", key);
    web.files.set(`${folder}SHA256SUMS`, `${releaseOf("20260725").sums}${sha256("evil")} *evil.img\n`);
    await assert.rejects(findUbuntuRelease(by(key)), /signature is not of the key .*[^]*SHA256SUMS/);
  });

  it("that a second key signed is refused, also when that key is in the ring", async () => {
    const [key, second] = [await siteKey(), await siteKey()];
    await publish("20260725", second);
    const both = key.armored + second.armored;
    await assert.rejects(findUbuntuRelease(by(key, { keys: both })), /signature is not of the key/);
    await assert.rejects(findUbuntuRelease(by(key, { keys: second.armored })), /there is no key [0-9A-F]{40} to check/);
    await findUbuntuRelease(by(second, { keys: both }));
  });

  it("is never found by a short id of a key", async () => {
    const key = await siteKey();
    await publish("20260725", key);
    await assert.rejects(findUbuntuRelease(by(key, { fingerprint: key.fingerprint.slice(-16) })), /there is no key/);
  });

  it("whose list is of another day is refused, though it has its good signature", async () => {
    const key = await siteKey();
    await publish("20260705", key);
    for (const name of ["SHA256SUMS", "SHA256SUMS.gpg"]) {
      const old = web.files.get(`${folder.replace("20260725", "20260705")}${name}`);
      assert.ok(old !== undefined);
      web.files.set(folder + name, old);
    }
    await assert.rejects(findUbuntuRelease(by(key)), /is of 20260705, and not of 20260725/);
  });

  it("whose list was signed before its day is refused, or in a time to come", async () => {
    const key = await siteKey();
    await publish("20260725", key, new Date("2026-07-20T00:00:00Z"));
    await assert.rejects(findUbuntuRelease(by(key)), /was signed at 2026-07-20.*, before the release 20260725/);
    await publish("20260725", key, new Date("2026-09-01T00:00:00Z"));
    await assert.rejects(findUbuntuRelease(by(key)), /signature is not of the key/);
  });

  it("that does not list the image is refused", async () => {
    const key = await siteKey();
    await publish("20260725", key);
    await assert.rejects(findUbuntuRelease(by(key, { architecture: "s390x" })), /no one image of s390x/);
  });

  it("whose manifest is not the listed one is refused", async () => {
    const key = await siteKey();
    await publish("20260725", key);
    web.files.set(`${folder}ubuntu-24.04-server-cloudimg-amd64.manifest`, "curl\t9\n");
    await assert.rejects(findUbuntuRelease(by(key)), /has the digest .* is pinned/);
  });

  it("that a mirror has not is named with its place there", async () => {
    const key = await siteKey();
    await assert.rejects(
      findUbuntuRelease(by(key)),
      /no such file[^]*cloud-images\.ubuntu\.com\/releases\/noble\/release-20260725/,
    );
    web.files.set("/cloud-images.ubuntu.com/releases/noble/", "<html>nothing here</html>");
    await assert.rejects(findUbuntuRelease(by(key, { serial: undefined })), /there is no release of the cloud image/);
  });

  it("whose list or signature is something else is refused", async () => {
    const key = await siteKey();
    await publish("20260725", key);
    web.files.set(`${folder}SHA256SUMS.gpg`, "<html>log in</html>");
    await assert.rejects(findUbuntuRelease(by(key)), /key or a signature cannot be read/);
    const page = "<html>log in</html>";
    web.files.set(`${folder}SHA256SUMS`, page);
    web.files.set(`${folder}SHA256SUMS.gpg`, await key.sign(page));
    await assert.rejects(findUbuntuRelease(by(key)), /line 1 of the list of digests/);
  });
});

describe("a release of RKE2", () => {
  const version = "v1.36.4+rke2r1";
  const files = ["rke2.linux-amd64.tar.gz", "rke2-images-core.linux-amd64.tar.zst"];
  const list = [...files, "rke2-images-canal.linux-amd64.tar.zst"].map((file) => `${sha256(file)}  ${file}\n`).join("");
  const path = (host = "") => `${host}/github.com/rancher/rke2/releases/download/${version}/sha256sum-amd64.txt`;
  const web = withWeb();
  const ask = (sources: Parameters<typeof readRke2Release>[0]["sources"], wanted = files) =>
    readRke2Release({ sources, version, architecture: "amd64", files: wanted, deadline: deadline() });

  it("has a plus in its address that stays one", () => {
    assert.equal(releaseFolder(version).href, "https://github.com/rancher/rke2/releases/download/v1.36.4%2Brke2r1/");
  });

  it("gives the digests of the files that an image has, and of the list itself", async () => {
    web.beUpstream();
    web.files.set(path(), list);
    const found = await ask([UPSTREAM], [...files, "sha256sum-amd64.txt"]);
    assert.deepEqual(found.artefacts, [
      ...files.map((file) => ({ file, sha256: sha256(file) })),
      { file: "sha256sum-amd64.txt", sha256: sha256(list) },
    ]);
    assert.equal(Buffer.from(found.evidence.get("sha256sum-amd64.txt") ?? []).toString(), list);
  });

  it("without files says that it has none, and why that may be", async () => {
    web.beUpstream();
    await assert.rejects(ask([UPSTREAM]), /RKE2 v1\.36\.4\+rke2r1 has no files to download[^]*RKE2 Prime/);
    await assert.rejects(
      ask([mirrorAt(web.root)]),
      /has no files to download[^]*copy the files of the release to the mirror/,
    );
  });

  it("without one of the files names it", async () => {
    web.files.set(path(), list);
    await assert.rejects(
      ask([mirrorAt(web.root)], ["rke2-images-cilium.linux-amd64.tar.zst"]),
      /has no rke2-images-cilium/,
    );
  });

  it("is asked of two sources, which must agree on each file that an image has", async () => {
    web.beUpstream();
    const mirror = mirrorAt(`${web.root}/mirror`);
    const there = path("/mirror");
    web.files.set(path(), list);
    // The mirror is no host of the network: it is reached through the same server, by its own name.
    const host = `/${new URL(web.root).host}${there}`;
    web.files.set(host, list.replace(sha256("rke2-images-canal.linux-amd64.tar.zst"), "0".repeat(64)));
    await ask([UPSTREAM, mirror]);
    web.files.set(host, list.replace(sha256("rke2.linux-amd64.tar.gz"), "0".repeat(64)));
    await assert.rejects(ask([UPSTREAM, mirror]), /have other digests of rke2\.linux-amd64\.tar\.gz/);
    web.files.delete(host);
    await assert.rejects(ask([UPSTREAM, mirror]), /has no files to download/);
  });
});
