/** The base of the reality check, made once and kept under ~/.cache/evergreen by the digest of what makes it. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const script = join(import.meta.dirname, "base.sh");

/** Programs of the machine that makes and runs guests, with Debian's packages that have them. */
const needs: Readonly<Record<string, string>> = {
  "qemu-system-x86_64": "qemu-system-x86",
  "qemu-img": "qemu-utils",
  mmdebstrap: "mmdebstrap",
  mke2fs: "e2fsprogs",
  debugfs: "e2fsprogs",
  busybox: "busybox-static",
  cpio: "cpio",
  zstd: "zstd",
  xz: "xz-utils",
  lz4: "lz4",
  python3: "python3",
  "dpkg-scanpackages": "dpkg-dev",
  shellcheck: "shellcheck",
};

export interface Base {
  disk: string;
  kernel: string;
  initrd: string;
  /** Folder with the packages that the bake installs. */
  packages: string;
}

/**
 * Makes the base unless it is there.
 * @param packages what the bake installs
 * @throws Error with the packages of this machine that are missing
 */
export function makeBase(packages: readonly string[]): Base {
  const has = (program: string) => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
  const missing = Object.entries(needs).flatMap(([program, of]) => (has(program) ? [] : [of]));
  if (missing.length > 0)
    throw new Error(
      `this machine lacks programs: apt-get install --no-install-recommends ${[...new Set(missing)].join(" ")}`,
    );
  const key = createHash("sha256").update(readFileSync(script)).update(packages.toSorted().join("\n")).digest("hex");
  const folder = join(homedir(), ".cache/evergreen", `image-base-${key.slice(0, 16)}`);
  const disk = join(folder, "base.qcow2");
  if (!existsSync(disk)) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const { status } = spawnSync("bash", [script, folder, ...packages.toSorted()], { stdio: ["ignore", 2, 2] });
    if (status !== 0) throw new Error(`base.sh ended with exit code ${String(status)}`);
  }
  return { disk, kernel: join(folder, "vmlinux"), initrd: join(folder, "initrd"), packages: join(folder, "debs") };
}

/** A disk that begins as another one, and is written to by itself. */
export function makeOverlay(base: string, disk: string): string {
  runTool("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, disk]);
  return disk;
}

/** @throws Error with what the program said when it fails */
export function runTool(program: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: exit code ${String(status)}: ${stderr}`);
  return stdout;
}
