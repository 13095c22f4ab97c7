import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { contentOf, readSeed } from "../../lab/guest/seed.ts";
import { cidata } from "../../src/domain/images/cidata.ts";
import { BAKE_DIRECTORY, progressOf, resultOf, type Kind, type StageResult } from "../../src/domain/images/stages.ts";
import { metaData, userData, type Bake } from "../../src/domain/images/user-data.ts";

/**
 * A directory that stands for a guest's disk, with what cloud-init writes of a bake. Programs of the guest that a test
 * must not run are stubs, which come first on PATH; each call is kept.
 */
export class BakeGuest {
  readonly folder = mkdtempSync(join(tmpdir(), "evergreen-bake-"));
  readonly root = join(this.folder, "root");
  readonly bake = join(this.folder, "bake");
  private readonly programs = join(this.folder, "programs");

  constructor(bake: Bake) {
    for (const folder of [this.root, this.bake, this.programs]) mkdirSync(folder, { recursive: true });
    const seed = readSeed(cidata({ "user-data": userData(bake), "meta-data": metaData("bake-1", "bake") }));
    for (const file of seed.userData.write_files ?? []) {
      const path = join(this.bake, file.path.slice(BAKE_DIRECTORY.length));
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, contentOf(file));
      chmodSync(path, parseInt(file.permissions ?? "644", 8));
    }
    this.put("etc/os-release", 'ID=debian\nVERSION_CODENAME=trixie\nPRETTY_NAME="a test"\n');
    for (const name of ["apt-get", "systemctl", "sysctl", "modprobe", "journalctl", "cloud-init", "swapoff"])
      this.stub(name);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  /** Writes a file of the guest's disk. */
  put(path: string, content: string | Uint8Array, mode = 0o644): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    chmodSync(file, mode);
  }

  /** Undefined: there is no such file. */
  get(path: string): string | undefined {
    const file = join(this.root, path);
    return existsSync(file) ? readFileSync(file, "utf8") : undefined;
  }

  /** Takes the place of a program. @param body of the shell, after its call was kept */
  stub(name: string, body = ""): void {
    const script = `#!/bin/sh\necho "${name}\${*:+ $*}" >>"${this.folder}/calls"\n${body}\n`;
    writeFileSync(join(this.programs, name), script, { mode: 0o755 });
  }

  /** The calls of stubs so far, one a line. */
  get calls(): string[] {
    const file = join(this.folder, "calls");
    return existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [];
  }

  /** Runs these stages, and no others, as the guest does. */
  run(kind: Kind, stages: readonly { name: string; seconds?: number }[]): StageResult {
    const list = stages.map(({ name, seconds = 60 }) => `${name} ${seconds}\n`).join("");
    writeFileSync(join(this.bake, `lists/stages.${kind}`), list);
    const { stderr } = this.sh(["sh", join(this.bake, "run.sh"), kind]);
    assert.equal(stderr, "");
    return resultOf(readFileSync(join(this.bake, `${kind}.json`), "utf8"));
  }

  /** Runs a program with this guest's disk and programs. */
  sh(
    [program = "sh", ...args]: readonly string[],
    input = "",
  ): { status: number | null; stdout: string; stderr: string } {
    const env = { PATH: `${this.programs}:${process.env.PATH ?? ""}`, EVERGREEN_ROOT: this.root };
    return spawnSync(program, args, { env, input, encoding: "utf8", timeout: 60_000 });
  }

  /** Requires that these stages succeed. */
  pass(kind: Kind, ...names: readonly string[]): void {
    const result = this.run(
      kind,
      names.map((name) => ({ name })),
    );
    assert.deepEqual(result, { status: "ok" }, JSON.stringify(result, null, 2));
  }

  progress(kind: Kind): string[] {
    return progressOf(readFileSync(join(this.bake, `${kind}.progress`), "utf8")).map(({ stage }) => stage);
  }
}
