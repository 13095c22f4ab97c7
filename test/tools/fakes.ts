import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { GoTool } from "../../tools/pins.ts";

/** A directory of its own, which goes with the test. */
export class Scratch implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "evergreen-tools-"));

  file(name: string, content: string, mode = 0o644): string {
    const path = join(this.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  }

  script(name: string, lines: string): string {
    return this.file(name, `#!/bin/sh\n${lines}\n`, 0o755);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A tool whose module is `module` in a scratch directory. */
export const tool: GoTool = {
  name: "hello",
  version: "1.2.3",
  binary: "hello",
  module: "module",
  package: ".",
  variables: { "main.version": "1.2.3" },
  part: "lab",
  purpose: "says hello",
};

/** The module of {@link tool}: `hello` prints its version. */
export function helloModule(scratch: Scratch): void {
  scratch.file("module/go.mod", "module example/hello\n\ngo 1.24\n");
  scratch.file("module/main.go", 'package main\n\nvar version = "unset"\n\nfunc main() { println(version) }\n');
}

/**
 * A `go` that says it is version 1.99.0. It notes each build in `builds`, then runs `lines` with the program's path in
 * `$out`, and then makes the program, unless they end it.
 */
export function fakeGo(scratch: Scratch, lines = ""): { path: string; version: string } {
  const path = scratch.script(
    "bin/go",
    `[ "$1" = env ] && { echo go1.99.0; exit 0; }
echo build >> ${join(scratch.path, "builds")}
while [ "$1" != -o ]; do shift; done
out=$2
${lines}
echo '#!/bin/sh' > "$out"; echo 'echo built' >> "$out"; chmod +x "$out"`,
  );
  return { path, version: "1.99.0" };
}
