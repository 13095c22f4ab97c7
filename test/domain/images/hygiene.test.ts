import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { checksOf } from "../../../src/domain/images/hygiene-checks.ts";
import { at, findingsOf, scriptOf, type Check } from "../../../src/domain/images/hygiene.ts";
import { definitionFixture } from "../../support/image-definition.ts";

const facts = { uuid: "6F1B2C3D-0000-4000-8000-0123456789AB" };
const everything = checksOf({ ...definitionFixture, ssh: false, hardening: "cis" });

const runShell = (script: string) => spawnSync("sh", ["-s"], { input: script, encoding: "utf8", timeout: 60_000 });

describe("the checks of an image", () => {
  it("have names of their own, a moment, and scripts that a shell understands", () => {
    assert.equal(new Set(everything.map(({ id }) => id)).size, everything.length);
    assert.equal(new Set(everything.map(({ mutant }) => mutant.plant)).size, everything.length, "defects of their own");
    for (const { id, moments, script, mutant } of everything) {
      assert.match(id, /^[a-z0-9-]+$/);
      assert.ok(moments.length > 0, id);
      for (const text of [script, mutant.plant])
        assert.equal(spawnSync("dash", ["-n"], { input: text }).status, 0, `${id}: ${text}`);
    }
  });

  it("are those that the definition asks for", () => {
    const ids = (changes: Partial<typeof definitionFixture>) =>
      checksOf({ ...definitionFixture, ...changes }).map(({ id }) => id);
    const plain = ids({ ssh: true, hardening: "none", sysctl: {}, kernel: { parameters: [], modules: [] } });
    const more = ["ssh-server", "sysctl", "modules", "cis-account", "cis-sysctl", "cis-audit"];
    assert.deepEqual(
      ids({ ssh: false, hardening: "cis" }).filter((id) => !plain.includes(id)),
      more,
    );
  });

  describe("run in one shell", () => {
    const check = (id: string, script: string, text: string): Check => ({
      id,
      script,
      expected: { text },
      looksAt: "it",
      moments: ["clone"],
      mutant: { defect: "", plant: "" },
    });
    const find = (checks: readonly Check[]) =>
      findingsOf(checks, runShell(scriptOf(checks)).stdout, facts).map(({ id, found }) => [id, found]);

    it("find nothing where each prints what it should, whatever that is", () => {
      const line = fc.stringMatching(/^[a-z@ '"$\\]{0,12}$/);
      const property = fc.property(fc.array(fc.array(line, { maxLength: 3 }), { maxLength: 4 }), (texts) => {
        const checks = texts.map((rows, index) => {
          const text = rows.join("\n").replace(/\n+$/, "");
          return check(`c-${index}`, `cat <<'END'\n${text}\nEND`, text);
        });
        assert.deepEqual(find(checks), []);
        const others = checks.map((one) => ({
          ...one,
          expected: { text: `${(one.expected as { text: string }).text}.` },
        }));
        assert.equal(find(others).length, checks.length);
      });
      fc.assert(property, { numRuns: 30 });
    });

    it("find an end by an error, other output, and an answer that is cut off or missing", () => {
      const checks = [
        check("fails", "echo a; exit 3", "a"),
        check("differs", "echo b", "a"),
        check("speaks", "echo a; echo b >&2", "a"),
        check("reads", "cat", ""),
        check("good", "printf a", "a"),
      ];
      assert.deepEqual(find(checks), [
        ["fails", "a (exit code 3)"],
        ["differs", "b"],
        ["speaks", "a\nb"],
      ]);
      const { stdout } = runShell(scriptOf(checks));
      const cut = findingsOf(checks, stdout.slice(0, stdout.lastIndexOf("end 0")), facts);
      assert.deepEqual(cut.at(-1), { id: "good", looksAt: "it", expected: "a", found: "no answer" });
      assert.equal(findingsOf(checks, "", facts).length, checks.length);
    });

    it("want the machine-id of the VM that was made", () => {
      const own: Check = {
        ...check("machine-id", "echo 6f1b2c3d0000400080000123456789ab", ""),
        expected: "machine-id",
      };
      assert.deepEqual(find([own]), []);
      assert.equal(find([{ ...own, script: "echo 0" }]).length, 1);
    });
  });

  /** Those that look at files alone, and whose defect is a file: the others need a guest (npm run test:image). */
  const ofFiles = at("sealed", everything).filter(
    ({ script, mutant }) =>
      /^(find|cat|awk|du|sed|grep) /.test(script) && /^(mkdir|echo|rm|sed|head|printf) /.test(mutant.plant),
  );

  describe("find exactly the defect that is planted for them, of those that look at files", () => {
    let root: string;
    const inRoot = (script: string): string => {
      const moved = script.replaceAll(/(?<![\w}])\/(etc|var|home|root|tmp|usr)\b(?=[/ ')"]|$)/gm, `${root}/$1`);
      // Or it would be done to this machine.
      assert.doesNotMatch(moved.replaceAll(root, "-"), /(?<![-\w])\/(etc|var|home|root|tmp|usr)\b/);
      return moved;
    };
    const run = (script: string) => runShell(inRoot(script));
    const find = () => findingsOf(ofFiles, run(scriptOf(ofFiles)).stdout, facts).map(({ id }) => id);

    const sealed: Record<string, string> = {
      "etc/machine-id": "",
      "etc/hostname": "",
      "etc/shadow": "root:*:1::::::\netcd:!:1::::::\n",
      "etc/evergreen/image.json":
        '{\n  "image": "ubuntu-24-04-rke2-v1.2.0",\n  "rke2": "v1.34.4+rke2r1",\n  "kernel": "6.8"\n}\n',
      "etc/needrestart/conf.d/90-evergreen.conf": "$nrconf{override_rc}{qr(^rke2-)} = 0;\n",
      "etc/rancher/rke2/audit-policy.yaml": "rules:\n  - level: Metadata\n",
      "var/log/syslog": "",
      "var/lib/apt/lists/lock": "",
    };

    beforeEach(() => {
      root = mkdtempSync(join(tmpdir(), "evergreen-sealed-"));
      for (const [path, content] of Object.entries(sealed)) {
        mkdirSync(join(root, dirname(path)), { recursive: true });
        writeFileSync(join(root, path), content);
      }
      for (const path of ["home", "root", "tmp", "var/tmp", "usr/sbin"])
        mkdirSync(join(root, path), { recursive: true });
    });
    afterEach(() => rmSync(root, { recursive: true }));

    it("none in an image that has none", () => {
      assert.ok(ofFiles.length >= 20, `${ofFiles.length} checks`);
      assert.deepEqual(find(), []);
    });

    for (const { id, mutant } of ofFiles)
      it(`${id}: ${mutant.defect}`, () => {
        assert.equal(run(mutant.plant).stderr, "");
        assert.deepEqual(find(), [id]);
      });
  });
});
