import assert from "node:assert/strict";
import { AgentProcesses } from "../../../lab/guest/agent-exec.ts";
import { GuestFiles } from "../../../lab/guest/files.ts";
import { findEntries } from "../../../lab/guest/find.ts";
import { installPackages, kernelAt, packageAt } from "../../../lab/guest/packages.ts";
import { runProgram } from "../../../lab/guest/shell.ts";
import { enableUnit, maskUnit } from "../../../lab/guest/units.ts";

const fresh = (): GuestFiles => new GuestFiles(new Map(), new Map());

describe("programs that the agent of a guest starts", () => {
  let files: GuestFiles;
  const run = (command: string[], input = "") => runProgram({ files, kernel: "6.8.0-60-generic" }, command, input);

  beforeEach(() => {
    files = fresh();
    files.put("/etc/machine-id", "0123\n");
    files.put("/usr/lib/systemd/system/rke2-server.service", "[Unit]\n");
    enableUnit(files, "evergreen-join.path");
    maskUnit(files, "apt-daily.timer");
    installPackages(files, ["htop"], "20260801T000000Z");
  });

  const known: [command: string[], input: string, code: number, out: string, err?: string][] = [
    [["uname", "-r"], "", 0, "6.8.0-60-generic\n"],
    [["/usr/bin/cat", "/etc/machine-id"], "", 0, "0123\n"],
    [["cat", "/etc/none"], "", 1, "", "cat: /etc/none: No such file or directory\n"],
    [["/bin/sh", "-c", "cat /etc/machine-id"], "", 0, "0123\n"],
    [["/bin/sh", "-s"], "# a comment\nset -eu\ncat /etc/machine-id\nexit 3\nuname -r\n", 3, "0123\n"],
    [["sh", "/etc/none"], "", 2, "", "sh: 0: cannot open /etc/none: No such file\n"],
    [["reboot-the-moon"], "", 127, "", "sh: 1: reboot-the-moon: not found\n"],
    [["sh", "-s"], "uname -r\nfrobnicate /\n", 127, "6.8.0-60-generic\n", "sh: 2: frobnicate: not found\n"],
    [["systemctl", "is-enabled", "evergreen-join.path", "apt-daily.timer"], "", 1, "enabled\nmasked\n"],
    [["systemctl", "is-enabled", "rke2-server.service", "none.service"], "", 1, "disabled\nnot-found\n"],
    [["systemctl", "is-active", "rke2-server.service"], "", 3, "inactive\n"],
    [["command", "-v", "htop"], "", 0, "/usr/bin/htop\n"],
  ];
  for (const [command, input, code, out, err = ""] of known)
    it(`${command.join(" ")} ${input.split("\n").slice(0, -1).join("; ")}`, async () => {
      const exit = await run(command, input);
      assert.deepEqual({ code: exit.code, out: exit.out ?? "", err: exit.err ?? "" }, { code, out, err });
    });

  it("are refused in the agent's words when there is no such program", () => {
    assert.throws(() => run(["/no/such"]), { name: "AgentError", message: /^Failed to execute child process/ });
  });

  it("print groups of a script as a shell does, whose errors go where their output goes", async () => {
    const script = "printf '@ a\\n'\n(\ncat /etc/none\n) 2>&1 </dev/null\nprintf '\\n@ end %s\\n' \"$?\"\n";
    const { code, out } = await run(["/bin/sh", "-s"], script);
    assert.deepEqual([code, out], [1, "@ a\ncat: /etc/none: No such file or directory\n\n@ end 1\n"]);
  });

  it("are told of once when they have ended, and while they run as often as they are asked for", async () => {
    const processes = new AgentProcesses();
    const { promise, resolve } = Promise.withResolvers<{ code: number }>();
    const pid = processes.start(promise);
    for (let asked = 0; asked < 2; asked += 1) assert.equal(processes.status(pid).exited, false);
    resolve({ code: 4 });
    await promise;
    assert.equal(processes.status(pid).code, 4);
    assert.throws(() => processes.status(pid), { name: "AgentError", message: "Invalid parameter 'pid'" });
  });
});

describe("the files of a guest", () => {
  it("are found as find does", () => {
    const files = fresh();
    for (const path of ["/tmp/a", "/tmp/d/b.log", "/tmp/d/systemd-private-1/x"]) files.put(path, "x");
    assert.deepEqual(findEntries(files, ["/tmp", "-mindepth", "1", "-maxdepth", "1"]), ["/tmp/a", "/tmp/d"]);
    assert.deepEqual(findEntries(files, ["/tmp", "-type", "f", "!", "-path", "'*/systemd-private-*'"]), [
      "/tmp/a",
      "/tmp/d/b.log",
      "/tmp/d/systemd-private-1/x",
    ]);
    assert.deepEqual(findEntries(files, ["/tmp", "-type", "f", "!", "-path", "*/systemd-private-*"]), [
      "/tmp/a",
      "/tmp/d/b.log",
    ]);
    assert.deepEqual(findEntries(files, ["/tmp/a", "/tmp/d/b.log", "/none", "-name", "*.log"]), ["/tmp/d/b.log"]);
    assert.equal(findEntries(files, ["/tmp", "-newer", "/tmp/a"]), undefined);
  });

  it("of /run are gone with the power, and are never on the disk", () => {
    const disk = new Map<string, Buffer>();
    const files = new GuestFiles(disk, new Map());
    files.put("/run/x/progress", "1 quiet\n");
    files.put("/etc/x", "y");
    assert.equal(files.agentRead("/run/x/progress").toString(), "1 quiet\n");
    assert.deepEqual([...disk.keys()], ["/etc/x"]);
    assert.equal(new GuestFiles(disk, new Map()).get("/run/x/progress"), undefined);
    files.remove("/run/x");
    assert.equal(files.get("/run/x/progress"), undefined);
  });
});

describe("an archive of packages", () => {
  it("has the same versions at the same moment, later ones later, and others of some", () => {
    const names = Array.from({ length: 40 }, (_, index) => `package-${index}`);
    const revision = (name: string, date: string) => Number(/ubuntu(\d+)$/.exec(packageAt(name, date).version)?.[1]);
    for (const name of names) {
      assert.deepEqual(packageAt(name, "20260801T000000Z"), packageAt(name, "20260801T000000Z"));
      assert.ok(revision(name, "20260801T000000Z") <= revision(name, "20261001T000000Z"), name);
    }
    const changed = names.filter((name) => revision(name, "20260801T000000Z") < revision(name, "20260901T000000Z"));
    assert.ok(changed.length > 0 && changed.length < names.length, String(changed.length));
    assert.notEqual(kernelAt("20260701"), kernelAt("20260901"));
  });
});
