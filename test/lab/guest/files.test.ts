import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { GuestFiles, GuestLog } from "../../../lab/guest/files.ts";
import { parseToken, paths, readOrder } from "../../../lab/guest/join.ts";
import { filesOf, images } from "../../../lab/images.ts";

const image = images["1.0.0"];
const files = (disk = new Map<string, Buffer>()) => new GuestFiles(disk, filesOf(image));

describe("a guest's files", () => {
  it("hold what the image is", () => {
    assert.deepEqual(JSON.parse(files().text("/etc/evergreen/image.json")), {
      image: "ubuntu-24.04-rke2-v1.0.0",
      rke2: "v1.34.4+rke2r1",
      kernel: "6.8.0-60-generic",
      units: ["registries"],
    });
  });

  it("survive on the machine's disk", () => {
    const disk = new Map<string, Buffer>();
    files(disk).agentWrite("/tmp/a", Buffer.from([0, 255]));
    assert.deepEqual(files(disk).agentRead("/tmp/a"), Buffer.from([0, 255]));
  });

  // As recorded: 6-agent-success.txt.
  const missing = (mode: string, path: string) =>
    `failed to open file '${path}' (mode: '${mode}'): No such file or directory`;
  for (const [what, call, message] of [
    ["a missing file", () => files().agentRead("/tmp/none"), missing("r", "/tmp/none")],
    ["a missing directory", () => files().agentRead("/nodir/x"), missing("r", "/nodir/x")],
    ["reading a directory", () => files().agentRead("/tmp"), "failed to read file: Is a directory"],
    [
      "writing where no directory is",
      () => files().agentWrite("/nodir/x", Buffer.from("y")),
      missing("wb", "/nodir/x"),
    ],
    [
      "writing a directory",
      () => files().agentWrite("/tmp", Buffer.from("y")),
      "failed to open file '/tmp' (mode: 'wb'): Is a directory",
    ],
    [
      "writing what takes nothing",
      () => files().agentWrite("/proc/version", Buffer.from("y")),
      "failed to close handle: Input/output error",
    ],
  ] as const) {
    it(`refuse ${what} in qemu-ga's words`, () => assert.throws(call, { name: "AgentError", message }));
  }

  it("keep a log that stays readable in one answer and repeats nothing", () => {
    const disk = new Map<string, Buffer>();
    const log = new GuestLog(files(disk), "/var/log/evergreen/join.log");
    for (let i = 0; i < 3; i++) log.say("rke2", "again");
    assert.equal(files(disk).text("/var/log/evergreen/join.log").split("again").length, 2);
    for (let i = 0; i < 3000; i++) log.say("rke2", `line ${String(i)}`);
    assert.ok(files(disk).text("/var/log/evergreen/join.log").length <= 61_440);
    assert.match(files(disk).text("/var/log/evergreen/join.log"), /line 2999\n$/);
  });
});

describe("join data", () => {
  const write = (data: string, marker: string) => {
    const written = files();
    written.agentWrite(paths.joinData, Buffer.from(data));
    written.agentWrite(paths.marker, Buffer.from(marker));
    return readOrder(written, "host");
  };
  const hash = (data: string) => createHash("sha256").update(data).digest("hex");

  it("is nothing without a marker, and a wipe with an empty one", () => {
    const written = files();
    written.agentWrite(paths.joinData, Buffer.from("token: x"));
    assert.equal(readOrder(written, "host").kind, "none");
    assert.equal(write("", "").kind, "wipe");
  });

  it("is read when its hash fits", () => {
    const data =
      "server: https://127.60.0.5:9345\ntoken: secret\nnode-name: n1\nnode-label:\n  - evergreen.dev/pool=workers\n" +
      "node-taint:\n  - a=b:NoSchedule\n  - c:NoExecute\ntls-san: [api.example]\n";
    const order = write(data, `agent ${hash(data)}\n`);
    assert.ok(order.kind === "start");
    assert.equal(order.role, "agent");
    const { args, nodeIp, ranges, privateRegistry, ...fragment } = order.fragment;
    assert.deepEqual(
      { nodeIp, ranges, privateRegistry },
      { nodeIp: [], ranges: { pods: [], services: [] }, privateRegistry: undefined },
    );
    assert.deepEqual(args.slice(0, 5), ["agent", "--server", "https://127.60.0.5:9345", "--token", "********"]);
    assert.deepEqual(args.slice(-4), ["--node-taint", "c:NoExecute", "--tls-san", "api.example"]);
    assert.deepEqual(fragment, {
      server: "https://127.60.0.5:9345",
      token: "secret",
      nodeName: "n1",
      labels: { "evergreen.dev/pool": "workers" },
      taints: [
        { key: "a", value: "b", effect: "NoSchedule" },
        { key: "c", effect: "NoExecute" },
      ],
      tlsSan: ["api.example"],
    });
  });

  for (const [what, data, marker] of [
    ["another hash", "a: b", `agent ${hash("a: c")}`],
    ["an unknown role", "a: b", `worker ${hash("a: b")}`],
    ["no hash", "a: b", "agent"],
    ["data that is no YAML", "a: [", `agent ${hash("a: [")}`],
    ["a taint that is none", "node-taint: [a=b]", `agent ${hash("node-taint: [a=b]")}`],
  ] as const) {
    it(`is refused with ${what}`, () => assert.equal(write(data, marker).kind, "refused"));
  }

  it("carries tokens of both kinds, with and without the CA's hash", () => {
    const ca = "a".repeat(64);
    const bootstrap = { kind: "bootstrap", token: "abcdef.0123456789abcdef" } as const;
    const password = { kind: "password", user: "server", password: "p:w" } as const;
    assert.deepEqual(parseToken(`K10${ca}::abcdef.0123456789abcdef`), { caHash: ca, credential: bootstrap });
    assert.deepEqual(parseToken("abcdef.0123456789abcdef"), { caHash: undefined, credential: bootstrap });
    assert.deepEqual(parseToken(`K10${ca}::server:p:w`), { caHash: ca, credential: password });
    assert.throws(() => parseToken("K10abc::server:x"), /CA hash length/);
  });
});
