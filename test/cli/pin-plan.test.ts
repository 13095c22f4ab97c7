import assert from "node:assert/strict";
import { findPins } from "../../cli/image/pin-plan.ts";
import { mirrorAt } from "../../src/clients/feeds/source.ts";
import type { ImageDefinition } from "../../src/domain/images/definition.ts";
import { releaseOf, siteKey, type SiteKey } from "../clients/feeds/publish.ts";
import { deadline, sha256, withWeb } from "../clients/feeds/web.ts";
import { definitionIn, exampleText, readAs } from "../support/image-folder.ts";

const NOW = new Date("2026-08-05T13:00:00Z");
const noble = "/cloud-images.ubuntu.com/releases/noble";
const sumsPath = "/github.com/rancher/rke2/releases/download/v1.36.4+rke2r1/sha256sum-amd64.txt";
const archive = (date: string) => `/snapshot.ubuntu.com/ubuntu/${date}/dists/noble/InRelease`;

describe("what is newest, upstream", () => {
  const web = withWeb();
  let key: SiteKey;
  let definition: ImageDefinition;
  const files = [
    "rke2.linux-amd64.tar.gz",
    "rke2-images-core.linux-amd64.tar.zst",
    "rke2-images-canal.linux-amd64.tar.zst",
  ];
  const sums = files.map((file) => `${sha256(file)}  ${file}\n`).join("");

  beforeEach(async () => {
    key = await siteKey();
    const example = definitionIn(readAs(exampleText));
    definition = { ...example, base: { ...example.base, signedBy: key.fingerprint } };
    web.beUpstream();
    const release = releaseOf("20260802");
    web.files.set(`${noble}/`, '<a href="release-20260725/"><a href="release-20260802/">');
    for (const [name, text] of Object.entries(release.files)) web.files.set(`${noble}/release-20260802/${name}`, text);
    web.files.set(`${noble}/release-20260802/SHA256SUMS`, release.sums);
    web.files.set(`${noble}/release-20260802/SHA256SUMS.gpg`, await key.sign(release.sums, new Date("2026-08-02")));
    web.files.set(sumsPath, sums);
    web.files.set(archive("20260805T000000Z"), "Origin: Ubuntu");
  });

  const find = (changes: Partial<Parameters<typeof findPins>[2]> = {}, given = definition) =>
    findPins(
      given,
      {},
      {
        mirror: undefined,
        isMirrorOnly: false,
        keys: key.armored,
        cache: web.cache,
        now: NOW,
        deadline: deadline(),
        ...changes,
      },
    );

  it("is the newest release, the archive of this day, and the files that the definition names", async () => {
    const { values, archiveDate } = await find();
    assert.equal(archiveDate, "20260805T000000Z");
    assert.deepEqual(
      values.map(({ path }) => path.join(".")),
      [
        "base.url",
        "base.sha256",
        "archiveDate",
        ...[...files, "sha256sum-amd64.txt"].map((file) => `rke2.artefacts.${file}`),
      ],
    );
  });

  it("is the least that a bake needs for a definition without files of RKE2", async () => {
    const lists = ["rke2-images-core.linux-amd64.txt", "rke2-images-canal.linux-amd64.txt"];
    web.files.set(sumsPath, sums + lists.map((file) => `${sha256(file)}  ${file}\n`).join(""));
    const { values } = await find({}, { ...definition, rke2: { ...definition.rke2, artefacts: [] } });
    assert.equal(values.filter(({ path, before }) => path[1] === "artefacts" && before === undefined).length, 5);
  });

  it("has an archive of that moment, or is refused", async () => {
    web.files.delete(archive("20260805T000000Z"));
    await assert.rejects(find(), /archive has no moment 20260805T000000Z for noble[^]*--archive-date/);
  });

  it("is never an archive from before the release", async () => {
    web.files.set(archive("20260802T000000Z"), "Origin: Ubuntu");
    web.files.set(
      `${noble}/release-20260802/SHA256SUMS.gpg`,
      await key.sign(releaseOf("20260802").sums, new Date("2026-08-01T20:00:00Z")),
    );
    await assert.rejects(
      find({ now: new Date("2026-08-01T22:00:00Z") }),
      /archive of 20260802T000000Z does not exist yet/,
    );
    assert.equal((await find({ now: new Date("2026-08-02T01:00:00Z") })).archiveDate, "20260802T000000Z");
  });

  it("is what a mirror and the release of RKE2 agree on", async () => {
    // A mirror is reached by its own name, as all hosts are here.
    const mirror = `/mirror.example.com/site`;
    for (const [path, content] of [...web.files])
      if (path.startsWith("/cloud-images")) web.files.set(mirror + path, content);
    web.files.set(mirror + sumsPath, sums);
    const asked = { mirror: mirrorAt("https://mirror.example.com/site") };
    assert.equal((await find(asked)).archiveDate, "20260805T000000Z");
    web.files.set(mirror + sumsPath, sums.replace(sha256("rke2.linux-amd64.tar.gz"), "0".repeat(64)));
    await assert.rejects(find(asked), /have other digests of rke2\.linux-amd64\.tar\.gz/);
    web.asked.length = 0;
    assert.equal((await find({ ...asked, isMirrorOnly: true })).archiveDate, "20260805T000000Z");
    assert.ok(
      web.asked.every((path) => path.startsWith(mirror)),
      web.asked.join(" "),
    );
  });

  it("is not known for a base image of another publisher", async () => {
    const base = {
      ...definition.base,
      url: "https://cloud.debian.org/images/trixie/20260801/debian-13-generic-amd64.qcow2",
    };
    await assert.rejects(find({}, { ...definition, base }), /no release of Ubuntu's cloud images/);
  });
});
