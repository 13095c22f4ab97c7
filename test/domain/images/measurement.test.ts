import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { contentsDigest } from "../../../src/domain/images/contents.ts";
import { contentsOf } from "../../../src/domain/images/measurement.ts";
import { progressOf } from "../../../src/domain/images/stages.ts";
import { bakeFolder, bakeOf } from "../../support/bake.ts";
import { BakeGuest } from "../../support/bake-guest.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

describe("what a guest measures of itself", () => {
  let guest: BakeGuest;
  const list = (name: string): string => guest.get(`record/${name}`) ?? "";
  const measure = () => {
    const { status, stdout, stderr } = guest.sh([
      "sh",
      join(bakeFolder, "guest/measure.sh"),
      join(guest.root, "record"),
    ]);
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout) as { packages: string; files: string };
  };

  beforeEach(() => {
    guest = new BakeGuest(bakeOf());
    guest.stub(
      "dpkg-query",
      "printf 'installed wget\\t1.2\\tamd64\\nconfig-files vim\\t9.0\\tamd64\\ninstalled htop\\t1:3.3\\tamd64\\n'",
    );
    guest.put("usr/lib/evergreen/unprotected", readFileSync(join(bakeFolder, "guest/unprotected")));
    for (const path of ["boot/vmlinuz-6", "etc/a b", "usr/bin/curl", "etc/sysctl.d/90-evergreen.conf"])
      guest.put(path, path);
  });
  afterEach(() => guest.remove());

  it("is read back as what the record of an image holds", () => {
    const digests = measure();
    assert.deepEqual(digests, { packages: sha256(list("packages")), files: sha256(list("files")) });
    const contents = contentsOf({
      packages: list("packages"),
      files: list("files"),
      images: `${sha256("x")}  docker.io/rancher/pause:3.6\n`,
    });
    assert.deepEqual(contents.packages, [
      { name: "htop", version: "1:3.3", architecture: "amd64" },
      { name: "wget", version: "1.2", architecture: "amd64" },
    ]);
    const own = contents.files.filter(({ path }) => !path.startsWith("/usr/lib/"));
    const paths = [
      "/boot/vmlinuz-6",
      "/etc/a b",
      "/etc/os-release",
      "/etc/sysctl.d/90-evergreen.conf",
      "/usr/bin/curl",
    ];
    assert.deepEqual(
      own.map(({ path }) => path),
      paths,
    );
    assert.equal(own[1]?.sha256, sha256("etc/a b"));
    assert.deepEqual(contents.images, [{ reference: "docker.io/rancher/pause:3.6", sha256: sha256("x") }]);
  });

  it("is the same after what a clone's first boot and a join change, and another after any other change", () => {
    const before = measure();
    for (const path of [
      ...["machine-id", "hostname", "resolv.conf", "ssh/ssh_host_rsa_key", "shadow", "netplan/50-cloud-init.yaml"],
      ...["evergreen/join.yaml", "rancher/rke2/config.yaml.d/90-evergreen.yaml"],
      "systemd/system/multi-user.target.wants/rke2-server.service",
    ])
      guest.put(`etc/${path}`, "of this clone");
    assert.deepEqual(measure(), before);
    for (const path of ["usr/bin/curl", "etc/sysctl.d/90-evergreen.conf", "etc/cron.d/added", "etc/hosts.allow"]) {
      const last = measure();
      guest.put(path, "edited");
      assert.notEqual(measure().files, last.files, path);
    }
  });

  it("is nothing when a line of it cannot be read", () => {
    const good = { packages: "htop\t3.3\tamd64\n", files: `${sha256("x")}  usr/bin/htop\n` };
    assert.equal(contentsDigest(contentsOf(good)).length, 64);
    for (const odd of [
      { packages: "htop\t3.3\n" },
      { packages: "htop\t3.3\tamd64\tmore\n" },
      { packages: "htop\t3.3\tamd64" },
      { files: "0123  usr/bin/htop\n" },
      { files: `${sha256("x")}  usr/bin/htop` },
      { images: "docker.io/rancher/pause:3.6\n" },
    ])
      assert.throws(() => contentsOf({ ...good, ...odd }), /measured .*not readable|cut off/, JSON.stringify(odd));
  });
});

it("the progress of a bake is read as far as it was written", () => {
  assert.deepEqual(progressOf("12.5 quiet\n40 archive\n55.0 pack"), [
    { at: 12.5, stage: "quiet" },
    { at: 40, stage: "archive" },
  ]);
});
