/** The stages of a bake, each run by a shell in a directory that stands for a guest's disk. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { guest as contract, healthPort } from "../../images/contract.ts";
import { resultOf, STAGES, type Kind } from "../../src/domain/images/stages.ts";
import type { Bake } from "../../src/domain/images/user-data.ts";
import { readBakeShell } from "../../src/runtime/bake-shell.ts";
import { bakeFolder, bakeOf } from "../support/bake.ts";
import { BakeGuest } from "../support/bake-guest.ts";

const text = (content: string): Uint8Array => new TextEncoder().encode(content);
const names = (kind: Kind): string[] => STAGES[kind].map(({ name }) => name);

describe("the shell of a bake", () => {
  it("is understood by every shell that may run it", () => {
    const scripts = [...readBakeShell().keys()].filter((path) => path.endsWith(".sh"));
    assert.ok(scripts.length > 25);
    for (const shell of ["dash", "bash"])
      for (const path of scripts) {
        const { status, stderr } = spawnSync(shell, ["-n", join(bakeFolder, path)], { encoding: "utf8" });
        assert.equal(status, 0, `${shell} -n ${path}: ${stderr}`);
      }
  });

  it("runs where the root is empty, which it is in a guest", () => {
    for (const [path, bytes] of readBakeShell()) assert.doesNotMatch(Buffer.from(bytes).toString(), /\$\{root:/, path);
  });

  for (const kind of ["bake", "seal"] as const)
    it(`has a script for each stage of ${kind}, and no other`, () => {
      const scripts = [...readBakeShell().keys()].flatMap(
        (path) => /^stages\/(\w+)\/(.+)\.sh$/.exec(path)?.slice(1) ?? [],
      );
      const own = scripts.filter((_, index) => scripts[index - 1] === kind && index % 2 === 1);
      assert.deepEqual(own.toSorted(), names(kind).toSorted());
    });

  it("has the units that the contract asks for, and the programs that they run", () => {
    const shell = new Map([...readBakeShell()].map(([path, bytes]) => [path, Buffer.from(bytes).toString()]));
    const watched = (unit: string) => /^PathChanged=(.+)$/m.exec(shell.get(`units/evergreen-${unit}.path`) ?? "")?.[1];
    assert.equal(watched("join"), contract.marker);
    assert.equal(watched("yield"), contract.yield);
    assert.equal(watched("registries"), contract.registriesReload);
    assert.match(shell.get("units/evergreen-health.socket") ?? "", new RegExp(`^ListenStream=${healthPort}$`, "m"));
    for (const [path, content] of shell) {
      if (!path.endsWith(".service")) continue;
      const program = /^ExecStart=\/usr\/lib\/evergreen\/(\w+)$/m.exec(content)?.[1] ?? "none";
      assert.ok(shell.has(`guest/${program}.sh`), `${path} runs ${program}`);
      assert.match(shell.get("stages/bake/units.sh") ?? "", new RegExp(`\\b${program}\\b`));
    }
  });
});

describe("the stages of a bake", () => {
  let guest: BakeGuest;
  const begin = (bake: Bake = bakeOf()): BakeGuest => (guest = new BakeGuest(bake));
  afterEach(() => guest.remove());

  /** Puts a stage into the guest that is not one of ours. */
  const putStage = (name: string, script: string) => {
    mkdirSync(join(guest.bake, "stages/bake"), { recursive: true });
    writeFileSync(join(guest.bake, `stages/bake/${name}.sh`), script);
  };

  describe("run in their order", () => {
    beforeEach(() => void begin());

    it("until the last, and say so", () => {
      putStage("one", "echo one\n");
      putStage("two", "echo two\n");
      assert.deepEqual(guest.run("bake", [{ name: "one" }, { name: "two" }]), { status: "ok" });
      assert.deepEqual(guest.progress("bake"), ["one", "two", "finished"]);
      assert.match(readFileSync(join(guest.bake, "bake.log"), "utf8"), /== one\n\+ .*echo one\none\n== two\n/s);
    });

    it("until one fails, of which they say the command and its last output", () => {
      putStage("one", `printf 'a "b" \\\\ \\377\\001c\\n'\nls /no/such/file\necho never\n`);
      const result = guest.run("bake", [{ name: "one" }, { name: "two" }]);
      assert.ok(result.status === "failed");
      const { stage, command, why, output } = result;
      assert.deepEqual({ stage, command, why }, { stage: "one", command: "ls /no/such/file", why: "exit code 2" });
      assert.equal(output.at(-2), "+ ls /no/such/file");
      assert.match(output.at(-1) ?? "", /No such file or directory/);
      assert.ok(output.includes('a "b" \\   c'), output.join("|"));
      assert.deepEqual(guest.progress("bake"), ["one"]);
    });

    it("until one is not done in its time", () => {
      putStage("one", "echo begun\nsleep 50\n");
      const result = guest.run("bake", [{ name: "one", seconds: 1 }]);
      assert.ok(result.status === "failed");
      assert.deepEqual([result.command, result.why], ["sleep 50", "not done after 1 s"]);
      assert.ok(result.output.includes("begun"));
    });

    it("until one refuses, whose message is the command", () => {
      putStage("one", 'refuse "the disk is full of cats"\n');
      const result = guest.run("bake", [{ name: "one" }]);
      assert.ok(result.status === "failed");
      assert.equal(result.command, "refuse the disk is full of cats");
      assert.equal(result.output.at(-1), "evergreen: the disk is full of cats");
    });

    it("in no distribution that has no data", () => {
      guest.put("etc/os-release", "ID=templeos\n");
      putStage("one", "true\n");
      const result = guest.run("bake", [{ name: "one" }]);
      assert.ok(result.status === "failed");
      assert.match(result.output.at(-1) ?? "", /no data for the distribution templeos/);
    });
  });

  describe("take packages from the archive of one moment", () => {
    const archive = "https://snapshot.ubuntu.com/ubuntu/20260801T000000Z";
    /** An apt that uses these archives. */
    const useArchives = (...uris: string[]) =>
      guest.stub(
        "apt-get",
        `case $1 in indextargets) printf '%s\\n' ${uris.map((uri) => `'${uri}'`).join(" ")} ;; esac`,
      );

    beforeEach(() => {
      begin();
      guest.put("etc/apt/sources.list", "deb http://site.example/debian trixie main\n");
      guest.put("etc/apt/sources.list.d/site.sources", "Types: deb\nURIs: http://site.example/more\n");
      guest.put("var/lib/apt/lists/old", "");
    });

    it("and put the site's sources back when the image is sealed", () => {
      useArchives(`${archive}/`, `${archive}/`);
      guest.pass("bake", "archive");
      const sources = guest.get("etc/apt/sources.list.d/evergreen-bake.sources") ?? "";
      assert.match(sources, new RegExp(`^URIs: ${archive}$`, "m"));
      assert.doesNotMatch(sources, /^Snapshot/m);
      assert.equal(guest.get("etc/apt/sources.list"), undefined);
      assert.equal(guest.get("etc/apt/sources.list.d/site.sources"), undefined);
      assert.equal(guest.get("var/lib/apt/lists/old"), undefined);
      guest.pass("seal", "sources");
      assert.equal(guest.get("etc/apt/sources.list.d/evergreen-bake.sources"), undefined);
      assert.match(guest.get("etc/apt/sources.list") ?? "", /site\.example/);
      assert.match(guest.get("etc/apt/sources.list.d/site.sources") ?? "", /site\.example/);
      assert.match(guest.get("etc/apt/apt.conf.d/90-evergreen") ?? "", /Never-Include-Phased-Updates "true"/);
      assert.equal(guest.get("etc/apt/apt.conf.d/91-evergreen-bake"), undefined);
    });

    for (const [what, uris] of [
      ["another one beside it", [`${archive}/`, "http://archive.ubuntu.com/ubuntu/"]],
      ["another one", ["http://archive.ubuntu.com/ubuntu/"]],
      ["none", [""]],
    ] as const)
      it(`and refuse an apt that uses ${what}`, () => {
        useArchives(...uris);
        const result = guest.run("bake", [{ name: "archive" }]);
        assert.ok(result.status === "failed");
        assert.match(result.command, /^refuse apt uses other archives/);
      });

    it("and fail when it has no such date", () => {
      guest.stub("apt-get", "case $* in *update*) echo 'E: ... does not have a Release file' >&2; exit 100 ;; esac");
      const result = guest.run("bake", [{ name: "archive" }]);
      assert.ok(result.status === "failed");
      assert.match(result.command, /apt-get .*update$/);
      assert.equal(result.why, "exit code 100");
      assert.ok(result.output.includes("E: ... does not have a Release file"));
    });
  });

  it("bring the definition's files with their modes, and keep sources of packages for the sealed image", () => {
    begin(
      bakeOf(
        {},
        {
          files: [
            { path: "/etc/a b/c", bytes: Uint8Array.of(0, 255), mode: "0640" },
            { path: "/etc/apt/sources.list.d/site.sources", bytes: text("of the image\n") },
          ],
        },
      ),
    );
    guest.pass("bake", "files");
    assert.deepEqual([...readFileSync(join(guest.root, "etc/a b/c"))], [0, 255]);
    assert.equal(statSync(join(guest.root, "etc/a b/c")).mode & 0o777, 0o640);
    assert.equal(guest.get("etc/apt/sources.list.d/site.sources"), undefined);
    guest.pass("seal", "sources");
    assert.equal(guest.get("etc/apt/sources.list.d/site.sources"), "of the image\n");
  });

  it("run the definition's scripts in their order, and end at the first that fails", () => {
    const script = (body: string) => text(`#!/bin/sh\n${body}\n`);
    const scripts = ["10-b", "9-a", "20-c"].map((path) => ({
      path,
      bytes: script(`echo ${path} >>"$EVERGREEN_ROOT/order"`),
    }));
    begin(bakeOf({}, { scripts: [...scripts, { path: "30-d", bytes: script("exit 3") }, ...scripts] }));
    const result = guest.run("bake", [{ name: "scripts" }]);
    assert.ok(result.status === "failed");
    assert.equal(result.why, "exit code 3");
    assert.equal(guest.get("order"), "10-b\n9-a\n20-c\n");
  });

  it("switch the definition's services by the names that they have", () => {
    begin(bakeOf({ services: { enable: ["dev-disk-by\\x2did.mount", "b.timer"], mask: ["c.service"] } }));
    guest.pass("bake", "scripts");
    assert.deepEqual(
      guest.calls.filter((call) => call.startsWith("systemctl")),
      ["systemctl enable b.timer dev-disk-by\\x2did.mount", "systemctl mask c.service"],
    );
  });

  it("make of the host what a node of Kubernetes needs, in files that say so", () => {
    begin(
      bakeOf({ kernel: { parameters: ["a=b", "quiet"], modules: ["overlay"] }, sysctl: { "vm.x": "1" }, ssh: false }),
    );
    guest.put("etc/fstab", "/dev/vda1 / ext4 defaults 0 1\n/swap.img none swap sw 0 0\n");
    guest.put("etc/shadow", "root:$y$hash:1::::::\nother::1::::::\netcd:!:1::::::\nbin:*:1::::::\n");
    guest.stub("passwd");
    guest.stub("update-grub");
    guest.stub("dpkg-query", "case $* in *openssh-server*) printf installed ;; *) exit 1 ;; esac");
    guest.pass("bake", "system");
    assert.equal(guest.get("etc/fstab"), "/dev/vda1 / ext4 defaults 0 1\n# /swap.img none swap sw 0 0\n");
    assert.equal(guest.get("etc/modules-load.d/90-evergreen.conf"), "overlay\n");
    assert.equal(guest.get("etc/sysctl.d/90-evergreen.conf"), "vm.x = 1\n");
    assert.equal(
      guest.get("etc/default/grub.d/90-evergreen.cfg"),
      'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a=b quiet"\n',
    );
    assert.match(guest.get("etc/needrestart/conf.d/90-evergreen.conf") ?? "", /\^rke2-/);
    const { calls } = guest;
    assert.deepEqual(
      calls.filter((call) => call.startsWith("passwd")),
      ["passwd --quiet --lock root", "passwd --quiet --lock other"],
    );
    assert.ok(calls.includes("update-grub") && calls.includes("modprobe overlay") && calls.includes("swapoff -a"));
    const purged = calls.filter((call) => call.includes("purge"));
    assert.deepEqual(
      purged.map((call) => call.split(" ").at(-1)),
      ["openssh-server"],
    );
  });

  it("describe the image with the kernel that the next boot has", () => {
    begin();
    for (const kernel of ["6.8.0-9-generic", "6.8.0-117-generic", "6.8.0-63-generic"])
      guest.put(`boot/vmlinuz-${kernel}`, "");
    guest.pass("bake", "describe");
    const facts = JSON.parse(guest.get("etc/evergreen/image.json") ?? "") as Record<string, unknown>;
    assert.equal(facts.kernel, "6.8.0-117-generic");
    assert.deepEqual(facts.units, ["registries"]);
  });

  it("leave nothing of this machine in the image that is sealed", () => {
    begin(bakeOf({ archiveDate: "19700111T000000Z" }));
    guest.put("etc/shadow", "root:*:9:0:99999:7:::\netcd:!:20000:0::::::\n", 0o640);
    const traces = [
      "etc/ssh/ssh_host_ed25519_key",
      "var/lib/systemd/random-seed",
      "var/lib/dbus/machine-id",
      "etc/rancher/node/password",
      "etc/evergreen/join.yaml",
      "etc/evergreen/registries.yaml",
      "root/.bash_history",
      "var/lib/cloud/instance/user-data.txt",
      "etc/netplan/50-cloud-init.yaml",
      "var/log/journal/0123/system.journal",
      "var/lib/dhcp/lease",
      "tmp/x",
      "var/tmp/x",
      "var/log/apt/history.log.1",
    ];
    for (const path of traces) guest.put(path, "secret");
    for (const path of ["etc/machine-id", "etc/hostname", "var/log/syslog"]) guest.put(path, "0123");
    guest.put("etc/evergreen/image.json", "{}");
    guest.pass("seal", "identity", "cloud-init", "traces");
    for (const path of traces) assert.equal(guest.get(path), undefined, path);
    for (const path of ["etc/machine-id", "etc/hostname", "var/log/syslog"]) assert.equal(guest.get(path), "", path);
    assert.equal(guest.get("etc/evergreen/image.json"), "{}");
    assert.equal(guest.get("etc/shadow"), "root:*:9:0:99999:7:::\netcd:!:10:0::::::\n");
    assert.ok(guest.calls.includes("cloud-init clean --logs --seed"));
  });
});

it("a result of a bake is one, or an error", () => {
  for (const odd of ["", "null", "{}", '{"status":"failed"}', '{"status":"fine"}', "[]"])
    assert.throws(() => resultOf(odd));
});
