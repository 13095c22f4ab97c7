import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { inspectImageDefinition } from "../../src/config/image-definition.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { releaseOf, siteKey, type SiteKey } from "../clients/feeds/publish.ts";
import { sha256 } from "../clients/feeds/web.ts";
import { exampleFolder, exampleText } from "../support/image-folder.ts";

const NAME = "ubuntu-24-04-rke2";
const VERSION = "v1.36.4+rke2r1";

describe("evergreen image pin", function () {
  this.timeout(60_000);
  let root: string;
  let key: SiteKey;
  const at = (...path: string[]) => join(root, ...path);
  const yaml = () => readFileSync(at("images", NAME, "image.yaml"), "utf8");
  const run = (...args: string[]) => call("pin", NAME, "--key", at("site.asc"), ...args);
  const call = (...args: string[]) => {
    const program = join(projectRoot, "cli", "bin", "evergreen.mjs");
    const all = [program, "image", ...args, "--images", at("images")];
    const env = { ...process.env, EVERGREEN_CACHE: at("cache") };
    const { status, stdout, stderr } = spawnSync(process.execPath, all, { cwd: root, encoding: "utf8", env });
    return { status, stdout, stderr };
  };
  const mirrored = (...args: string[]) => run("--mirror", at("mirror"), "--mirror-only", ...args);
  const put = (path: string, content: string | Buffer) => {
    mkdirSync(dirname(at("mirror", path)), { recursive: true });
    writeFileSync(at("mirror", path), content);
  };

  /** Puts a release on the mirror, signed with the key of the site. */
  async function publish(serial: string): Promise<void> {
    const { sums, files } = releaseOf(serial);
    const folder = `cloud-images.ubuntu.com/releases/noble/release-${serial}`;
    const signed = await key.sign(sums, new Date(`${serial.replace(/(....)(..)(..)/, "$1-$2-$3")}T12:00:00Z`));
    for (const [name, content] of Object.entries({ ...files, SHA256SUMS: sums, "SHA256SUMS.gpg": signed }))
      put(`${folder}/${name}`, content);
  }

  const FILES = [
    "rke2.linux-amd64.tar.gz",
    "rke2-images-core.linux-amd64.tar.zst",
    "rke2-images-canal.linux-amd64.tar.zst",
  ];
  const rke2Sums = FILES.map((file) => `${sha256(file)}  ${file}\n`).join("");

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), "evergreen-pin-"));
    key = await siteKey();
    writeFileSync(at("site.asc"), key.armored);
    cpSync(exampleFolder, at("images", NAME), { recursive: true });
    const text = exampleText.replace(/signedBy: [0-9A-F]{40}/, `signedBy: ${key.fingerprint}`);
    writeFileSync(at("images", NAME, "image.yaml"), text);
    for (const serial of ["20260725", "20260802"]) await publish(serial);
    put(`github.com/rancher/rke2/releases/download/${VERSION}/sha256sum-amd64.txt`, rke2Sums);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it("writes the newest into the definition, keeps its comments, and puts the evidence beside it", () => {
    const before = yaml();
    const { status, stdout, stderr } = mirrored("--archive-date", "20260805T000000Z");
    assert.deepEqual([status, stderr], [0, ""]);
    assert.match(stdout, /base\.url: .*release-20260725.* -> .*release-20260802.*\n/);
    assert.match(stdout, /archiveDate: 20260901T000000Z -> 20260805T000000Z\n/);
    assert.match(stdout, /rke2\.artefacts\.rke2\.linux-amd64\.tar\.gz: 7bcb[0-9a-f]+ -> [0-9a-f]{64}\n/);
    const read = inspectImageDefinition(at("images", NAME));
    assert.ok("definition" in read);
    const { base, archiveDate, rke2 } = read.definition;
    assert.deepEqual(
      [base.serial, base.sha256, archiveDate],
      ["20260802", sha256("image of 20260802"), "20260805T000000Z"],
    );
    assert.deepEqual(
      rke2.artefacts.map((one) => one.sha256),
      [...FILES.map((file) => sha256(file)), sha256(rke2Sums)],
    );
    const comments = (text: string) => text.split("\n").filter((line) => line.includes("#"));
    assert.deepEqual(comments(yaml()), comments(before));
    assert.equal(yaml().split("\n").length, before.split("\n").length);
    assert.deepEqual(readdirSync(at("images", NAME, "pins")).toSorted(), [
      "SHA256SUMS",
      "SHA256SUMS.gpg",
      "sha256sum-amd64.txt",
      "ubuntu-24.04-server-cloudimg-amd64.manifest",
      "ubuntu-24.04-server-cloudimg-amd64.release.20260705.20260802.image_changelog.json",
    ]);
    assert.deepEqual(readdirSync(at("images")), [NAME]);
  });

  it("changes nothing the second time, and nothing in a dry run", () => {
    const before = yaml();
    const dry = mirrored("--dry-run");
    assert.equal(dry.status, 0, dry.stderr);
    assert.match(dry.stdout, /base\.sha256/);
    assert.equal(yaml(), before);
    assert.ok(!readdirSync(at("images", NAME)).includes("pins"));
    assert.equal(mirrored("--archive-date", "20260805T000000Z").status, 0);
    const pinned = yaml();
    assert.match(mirrored("--archive-date", "20260805T000000Z").stdout, /nothing changes\n$/);
    assert.equal(yaml(), pinned);
  });

  const refused: [string, () => unknown, string[], RegExp][] = [
    [
      "a list that was changed",
      () =>
        put(
          "cloud-images.ubuntu.com/releases/noble/release-20260802/SHA256SUMS",
          releaseOf("20260802").sums + releaseOf("20260725").sums,
        ),
      [],
      /signature is not of the key/,
    ],
    [
      "a mirror that is behind",
      () => {
        rmSync(at("mirror", "cloud-images.ubuntu.com"), { recursive: true });
        return publish("20260701");
      },
      [],
      /release 20260701 is older than 20260725, which is pinned/,
    ],
    [
      "a mirror without the release of RKE2",
      () => rmSync(at("mirror", "github.com"), { recursive: true }),
      [],
      /has no files to download/,
    ],
    [
      "another version of RKE2 without files",
      () => undefined,
      ["--rke2", "v1.36.5+rke2r1"],
      /RKE2 v1\.36\.5\+rke2r1 has no files/,
    ],
    [
      "an archive older than the base image",
      () => undefined,
      ["--archive-date", "20260101T000000Z"],
      /older than the base image of 20260802/,
    ],
    ["a key that is not there", () => rmSync(at("site.asc")), [], /file with the key cannot be read/],
  ];
  for (const [name, change, args, message] of refused)
    it(`refuses ${name}, and leaves the definition as it was`, async () => {
      const before = yaml();
      await change();
      const { status, stderr } = mirrored(...args);
      assert.deepEqual([status, yaml()], [1, before]);
      assert.match(stderr, message);
      assert.deepEqual(readdirSync(at("images")), [NAME]);
    });

  it("takes an older release that is named, and no mirror that is not", async () => {
    await publish("20260701");
    const { status, stderr } = mirrored("--base", "20260701", "--archive-date", "20260702T000000Z");
    assert.equal(status, 0, stderr);
    assert.match(yaml(), /release-20260701/);
    assert.match(run("--mirror-only").stderr, /no mirror is named/);
  });

  it("lets two versions be compared by the packages of their base images, and what these clear", () => {
    assert.equal(mirrored("--base", "20260725", "--archive-date", "20260805T000000Z").status, 0);
    const old = at("old", NAME);
    cpSync(at("images", NAME), old, { recursive: true });
    const undone = call("diff", old, NAME);
    assert.doesNotMatch(undone.stdout, /packages of the base image/);
    assert.equal(mirrored("--archive-date", "20260805T000000Z").status, 0);

    const { stdout, stderr } = call("diff", old, NAME);
    assert.equal(stderr, "");
    assert.match(
      stdout,
      /packages of the base image 20260725 -> 20260802: 1 differences\n {2}~ curl 8\.5\.0-2ubuntu10\.5 -> 8\.5\.0-2ubuntu10\.2 \(downgraded\)\nvulnerabilities that the newer base image clears: 1\n {2}CVE-2026-0802 \(high\): curl, libcurl4t64\n {2}the changelog is of 20260705 to 20260802/,
    );
    const json = JSON.parse(call("diff", old, NAME, "--json").stdout) as { basePackages: { cves: unknown[] } };
    assert.equal(json.basePackages.cves.length, 1);

    const manifest = at("images", NAME, "pins", "ubuntu-24.04-server-cloudimg-amd64.manifest");
    writeFileSync(manifest, `${readFileSync(manifest, "utf8")}evil\t1\n`);
    assert.match(call("diff", old, NAME).stderr, /a file of the pins is not the one that the signed list has/);
    cpSync(join(old, "pins", "SHA256SUMS"), at("images", NAME, "pins", "SHA256SUMS"));
    assert.match(call("diff", old, NAME).stderr, /evidence of the pins is not of the base image 20260802/);
    rmSync(at("images", NAME, "pins"), { recursive: true });
    assert.doesNotMatch(call("diff", old, NAME).stdout, /packages of the base image/);
  });
});
