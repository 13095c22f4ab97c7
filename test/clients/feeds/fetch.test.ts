import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fetchBytes, fetchFile, fetchText, listFolder } from "../../../src/clients/feeds/fetch.ts";
import { NotThere } from "../../../src/clients/feeds/fetch-errors.ts";
import { mayLead, mirrorAt, placeOf, UPSTREAM, type Source } from "../../../src/clients/feeds/source.ts";
import { Deadline, DeadlineError } from "../../../src/runtime/deadline.ts";
import { useClock } from "../../../src/runtime/clock.ts";
import { fastClock } from "../../support/fast-clock.ts";
import { deadline, redirect, sha256, withWeb } from "./web.ts";

const content = "the content of a release";
const address = new URL("https://github.com/rancher/rke2/file.tar.gz");
const own = "/github.com/rancher/rke2/file.tar.gz";

describe("the fetcher of feeds", () => {
  const web = withWeb();
  afterEach(() => useClock());

  const wanted = (source: Source = mirrorAt(web.root), mostBytes = 1000) => ({
    source,
    address,
    mostBytes,
    deadline: deadline(),
  });
  const file = (digest = sha256(content), source: Source = mirrorAt(web.root)) =>
    fetchFile(wanted(source), digest, web.cache);

  it("downloads a file once: a second time 0 bytes, and not one request", async () => {
    web.files.set(own, content);
    const first = await file();
    assert.equal(first.downloaded, content.length);
    assert.equal(await readFile(first.path, "utf8"), content);
    const [asked, sent] = [web.asked.length, web.sent];
    assert.deepEqual(await file(), { path: first.path, downloaded: 0 });
    assert.deepEqual([web.asked.length, web.sent], [asked, sent]);
  });

  it("downloads a file of the cache again that was damaged there", async () => {
    web.files.set(own, content);
    const { path } = await file();
    await writeFile(path, content.slice(1));
    assert.equal((await file()).downloaded, content.length);
    assert.equal(await readFile(path, "utf8"), content);
  });

  it("removes what a killed download has left, and nothing of one that may still run", async () => {
    web.files.set(own, content);
    await mkdir(join(web.cache, "sha256"));
    const [old, young] = ["old.part", "young.part"].map((name) => join(web.cache, "sha256", name));
    assert.ok(old !== undefined && young !== undefined);
    for (const part of [old, young]) await writeFile(part, "x");
    const before = new Date(Date.now() - 25 * 3_600_000);
    await utimes(old, before, before);
    const { path } = await file();
    assert.deepEqual((await readdir(join(web.cache, "sha256"))).toSorted(), [basename(path), "young.part"].toSorted());
  });

  it("takes no file with another digest, and keeps nothing of it", async () => {
    web.files.set(own, content.slice(0, -4));
    await assert.rejects(file(), /has the digest [0-9a-f]{64} and 20 bytes, and [0-9a-f]{64} is pinned/);
    assert.deepEqual(await readdir(join(web.cache, "sha256")), []);
  });

  it("begins anew when the connection ends in the middle of a file, and names it when that goes on", async () => {
    useClock(fastClock);
    let broken = 1;
    web.files.set(own, (_, response) => {
      response.writeHead(200, { "content-length": content.length });
      if (broken-- <= 0) return void response.end(content);
      response.write(content.slice(0, 5), () => response.destroy());
    });
    assert.equal((await file()).downloaded, content.length);
    await rm(join(web.cache, "sha256"), { recursive: true });
    broken = 99;
    await assert.rejects(file(), /could not be downloaded in 4 tries[^]*file\.tar\.gz/);
    assert.deepEqual(await readdir(join(web.cache, "sha256")), []);
  });

  it("asks a busy server again, and one that refuses never", async () => {
    useClock(fastClock);
    const answers = [503, 429, 200];
    web.files.set(own, (_, response) => void response.writeHead(answers.shift() ?? 500).end(content));
    assert.equal(await fetchText(wanted()), content);
    assert.equal(web.asked.length, 3);
    web.files.set(own, (_, response) => void response.writeHead(403).end());
    await assert.rejects(fetchText(wanted()), /could not be downloaded: the server answers with 403/);
    assert.equal(web.asked.length, 4);
    web.files.set(own, (_, response) => void response.writeHead(500).end());
    await assert.rejects(fetchText(wanted()), /answers with 500/);
    assert.equal(web.asked.length, 8);
  });

  it("reads no more than it may", async () => {
    web.files.set(own, "x".repeat(2000));
    await assert.rejects(fetchBytes(wanted()), /larger than the 1000 bytes/);
    web.files.set(own, Buffer.from([0xff]));
    await assert.rejects(fetchText(wanted()), /not UTF-8/);
  });

  it("gives up when its time is over, whatever still arrives", async () => {
    web.files.set(own, (_, response) => {
      const timer = setInterval(() => response.write("x"), 20);
      response.on("close", () => clearInterval(timer));
    });
    const slow = { ...wanted(), deadline: new Deadline("a slow file", 0.3) };
    await assert.rejects(fetchBytes(slow), DeadlineError);
  });

  it("tells a file that is not there from everything else", async () => {
    await assert.rejects(fetchBytes(wanted()), NotThere);
    await assert.rejects(fetchBytes(wanted(mirrorAt(web.cache))), NotThere);
    await mkdir(join(web.cache, "github.com/rancher/rke2/file.tar.gz"), { recursive: true });
    await assert.rejects(
      fetchBytes(wanted(mirrorAt(web.cache))),
      (error) => !(error instanceof NotThere) && String(error).includes("EISDIR"),
    );
  });

  it("reads a mirror that is a folder as one that is a server", async () => {
    const disk = join(web.cache, "mirror");
    await mkdir(join(disk, "github.com/rancher/rke2"), { recursive: true });
    await writeFile(join(disk, "github.com/rancher/rke2/file.tar.gz"), content);
    const { path } = await file(sha256(content), mirrorAt(disk));
    assert.equal(await readFile(path, "utf8"), content);
    assert.deepEqual(await listFolder({ ...wanted(mirrorAt(disk)), address: new URL("https://github.com/rancher/") }), [
      "rke2",
    ]);
    assert.equal(web.asked.length, 0);
  });

  it("follows a release to the host that has its files, and to no other place", async () => {
    web.beUpstream();
    const there = "https://release-assets.githubusercontent.com/file?token=1";
    web.files.set("/release-assets.githubusercontent.com/file?token=1", content);
    web.files.set(own, redirect(there));
    assert.equal(await fetchText(wanted(UPSTREAM)), content);
    web.files.delete("/release-assets.githubusercontent.com/file?token=1");
    await assert.rejects(fetchText(wanted(UPSTREAM)), (error) => !String(error).includes("token=1"));
    for (const away of [
      "https://evil.example.com/file",
      "http://release-assets.githubusercontent.com/file",
      "http://github.com/file",
      "https://user@github.com/file",
      "https://:password@github.com/file",
      "file:///etc/passwd",
    ]) {
      web.files.set(own, redirect(away));
      await assert.rejects(
        fetchText(wanted(UPSTREAM)),
        /the server leads to .*, where nothing may be downloaded from/,
        away,
      );
    }
    web.files.set(own, redirect(address.href, 301));
    await assert.rejects(fetchText(wanted(UPSTREAM)), /the server leads to https:\/\/github\.com/);
    assert.ok(
      web.asked.every((path) => /^\/(github\.com|release-assets)/.test(path)),
      web.asked.join(" "),
    );
  });

  it("speaks HTTPS with all hosts but a mirror", async () => {
    web.beUpstream();
    const plain = { ...wanted(UPSTREAM), address: new URL("http://github.com/file") };
    await assert.rejects(fetchText(plain), /nothing may be downloaded from/);
    assert.equal(web.asked.length, 0);
  });

  it("says of a cache that cannot be written that it is the cache", async () => {
    web.files.set(own, content);
    await writeFile(join(web.cache, "sha256"), "");
    await assert.rejects(file(), /cache of downloads cannot be used: E(NOTDIR|EXIST)/);
  });
});

describe("a mirror", () => {
  it("has each file below the name of its host", () => {
    assert.equal(
      placeOf(mirrorAt("/srv/mirror/"), address).href,
      "file:///srv/mirror/github.com/rancher/rke2/file.tar.gz",
    );
    assert.equal(
      placeOf(mirrorAt("http://m:8080/x"), address).href,
      "http://m:8080/x/github.com/rancher/rke2/file.tar.gz",
    );
  });

  for (const place of ["ftp://mirror", "http://user@mirror/", "https://mirror/?x=1", "http://"])
    it(`is not ${place}`, () => assert.throws(() => mirrorAt(place), /neither a folder nor the address of one/));

  it("leads nowhere but to itself", () => {
    assert.equal(mayLead(new URL("http://mirror/a"), new URL("http://mirror/b")), true);
    assert.equal(mayLead(new URL("http://mirror/a"), new URL("http://mirror:81/b")), false);
    assert.equal(mayLead(new URL("http://github.com/a"), new URL("https://objects.githubusercontent.com/b")), false);
  });
});
