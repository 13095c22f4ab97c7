/** The script of an image that gives RKE2 other registries, run by a shell against a systemd of files. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { projectRoot } from "../../src/runtime/project.ts";

const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex");

const script = join(projectRoot, "images/bake/guest/registries.sh");

/**
 * A systemd that knows one unit. Each second that the script sleeps is an attempt of an RKE2 that does not start.
 * @param state of rke2-server before
 * @param failures how often RKE2 ends instead of starting
 */
const systemctlOf = (root: string, state: string, failures: number): Record<string, string> => ({
  systemctl: `#!/bin/sh
cd ${root}
[ -e state ] || { echo ${state} > state; echo 0 > tries; }
case "$1 $2 $3 $4" in
"is-active rke2-agent "*|"is-active --quiet rke2-agent "*) echo inactive; exit 4 ;;
"is-active rke2-server "*) cat state; [ "$(cat state)" = active ] ;;
"is-active --quiet rke2-server "*) [ "$(cat state)" = active ] ;;
"try-restart "*) [ "$(cat state)" = active ] || exit 0; echo restart >> told; ./attempt ;;
"restart rke2-server "*) echo restart >> told; ./attempt ;;
"show -P NRestarts rke2-server") cat tries ;;
*) echo "unknown: $*" >&2; exit 1 ;;
esac
`,
  attempt: `#!/bin/sh
cd ${root}
tries=$(cat tries)
if [ "$tries" -lt ${failures} ]; then echo activating > state; echo $((tries + 1)) > tries; exit 1; fi
echo active > state
`,
  sleep: `#!/bin/sh
${root}/attempt || true
`,
  timeout: `#!/bin/sh
shift
exec "$@"
`,
  journalctl: "#!/bin/sh\necho 'level=fatal msg=\"the reason\"'\n",
});

describe("the unit for registries", () => {
  const yaml = "configs: {}\n";
  let root: string;
  const file = (name: string) => join(root, "etc/evergreen", name);
  const text = (name: string): string => {
    try {
      return readFileSync(file(name), "utf8");
    } catch {
      return "";
    }
  };

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "evergreen-unit-"));
    mkdirSync(join(root, "etc/evergreen"), { recursive: true });
    writeFileSync(file("registries.yaml"), yaml);
    writeFileSync(file("registries.reload"), digestOf(yaml));
  });

  afterEach(() => rmSync(root, { recursive: true }));

  function runUnit(state: string, failures: number): void {
    for (const [name, content] of Object.entries(systemctlOf(root, state, failures))) {
      writeFileSync(join(root, name), content);
      chmodSync(join(root, name), 0o755);
    }
    const { status, stderr } = spawnSync("sh", [script], {
      env: { PATH: `${root}:${process.env.PATH ?? ""}`, EVERGREEN_ROOT: root },
      encoding: "utf8",
      timeout: 20_000,
    });
    assert.equal(status, 0, stderr);
  }

  for (const [what, state, failures] of [
    ["runs", "active", 0],
    ["still starts, as one that can pull nothing", "activating", 0],
    ["fails at first, and starts when systemd tries it again", "active", 1],
    ["has failed for good before", "failed", 0],
  ] as const)
    it(`says that an RKE2 has started which ${what}`, () => {
      runUnit(state, failures);
      assert.equal(text("registries.loaded"), digestOf(yaml));
      assert.match(readFileSync(join(root, "told"), "utf8"), /^restart$/m);
      assert.equal(text("registries.failed"), "");
    });

  it("says why an RKE2 does not start, and later that it has", () => {
    runUnit("active", 5);
    assert.equal(text("registries.failed"), `${digestOf(yaml)}\nlevel=fatal msg="the reason"\n`);
    assert.equal(text("registries.loaded"), digestOf(yaml));
  });

  it("leaves an RKE2 that does not run to its next start", () => {
    runUnit("inactive", 0);
    assert.equal(text("registries.loaded"), digestOf(yaml));
    assert.throws(() => readFileSync(join(root, "told")));
  });
});
