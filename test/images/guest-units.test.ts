/** What the units of an image run when a step writes an order, each by a shell against a systemd of files. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bakeFolder, bakeOf } from "../support/bake.ts";
import { BakeGuest } from "../support/bake-guest.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Where RKE2 reads what a node joins with. */
const FRAGMENT = "etc/rancher/rke2/config.yaml.d/90-evergreen.yaml";

let guest: BakeGuest;

function begin(): void {
  guest = new BakeGuest(bakeOf());
  // Units that are active or enabled are words in a file.
  guest.stub(
    "systemctl",
    `case "$1 $2" in
"is-active --quiet") grep -qx "active $3" "${guest.folder}/units" ;;
"is-enabled --quiet") grep -qx "enabled $3" "${guest.folder}/units" ;;
"cat rke2-server.service" | "cat rke2-agent.service") ;;
cat*) exit 1 ;;
esac`,
  );
  setUnits();
}

const setUnits = (...words: string[]): void => {
  writeFileSync(join(guest.folder, "units"), words.map((word) => `${word}\n`).join(""));
};

const runUnit = (name: string) => guest.sh(["sh", join(bakeFolder, `guest/${name}.sh`)]);

/** The calls that change a unit. */
const changes = (): string[] =>
  guest.calls.filter((call) => /^systemctl (start|restart|stop|enable|disable|try)/.test(call));

describe("the unit for joins", () => {
  const data = "server: https://10.0.0.5:9345\ntoken: K10secret\nnode-name: a-1\n";
  beforeEach(begin);
  afterEach(() => guest.remove());

  function order(role: string, text = data): void {
    guest.put("etc/evergreen/join.yaml", text, 0o666);
    guest.put("etc/evergreen/join.ready", `${role} ${sha256(text)}\n`);
  }

  const joinNow = (): void => assert.equal(runUnit("join").status, 0);

  it("starts RKE2 with the join data, which only root can read then", () => {
    order("agent");
    joinNow();
    assert.equal(guest.get(FRAGMENT), data);
    assert.equal(statSync(join(guest.root, FRAGMENT)).mode & 0o777, 0o600);
    assert.deepEqual(changes(), [
      "systemctl enable --quiet rke2-agent.service",
      "systemctl restart --no-block rke2-agent.service",
    ]);
  });

  it("leaves no token in the order, and the address for those who ask how the node joins", () => {
    order("server");
    joinNow();
    assert.equal(guest.get("etc/evergreen/join.yaml"), "# taken\nserver: https://10.0.0.5:9345\n");
    assert.equal(statSync(join(guest.root, "etc/evergreen/join.yaml")).mode & 0o777, 0o600);
  });

  it("starts RKE2 at the next boot too, without another order", () => {
    order("server");
    joinNow();
    setUnits("enabled rke2-server.service");
    joinNow();
    assert.deepEqual(changes().slice(2), [
      "systemctl enable --quiet rke2-server.service",
      "systemctl start --no-block rke2-server.service",
    ]);
  });

  it("has an RKE2 that still tries begin anew with other join data, and one that has joined only at its next start", () => {
    order("agent");
    joinNow();
    const fresh = data.replace("K10secret", "K10fresh");
    order("agent", fresh);
    joinNow();
    assert.equal(changes().at(-1), "systemctl restart --no-block rke2-agent.service");
    assert.equal(guest.get(FRAGMENT), fresh);
    setUnits("active rke2-agent.service", "enabled rke2-agent.service");
    order("agent", data);
    joinNow();
    assert.equal(changes().at(-1), "systemctl start --no-block rke2-agent.service");
    assert.equal(guest.get(FRAGMENT), data);
  });

  it("does not run both roles", () => {
    setUnits("enabled rke2-server.service");
    order("agent");
    joinNow();
    assert.equal(changes()[0], "systemctl disable --now rke2-server.service");
  });

  it("wipes the join data and stops RKE2 on an empty order beside empty join data", () => {
    order("agent");
    joinNow();
    for (const path of ["etc/rancher/node/password", "var/lib/rancher/rke2/agent/client-kubelet.key"])
      guest.put(path, "x");
    guest.put("var/lib/rancher/rke2/agent/server-ca.crt", "x");
    guest.put("var/lib/rancher/rke2/agent/containerd/kept", "x");
    guest.put("usr/local/bin/rke2-killall.sh", `#!/bin/sh\necho killed >>"${guest.folder}/calls"\n`, 0o755);
    guest.put("etc/evergreen/join.yaml", "");
    guest.put("etc/evergreen/join.ready", "");
    joinNow();
    for (const path of [FRAGMENT, "etc/rancher/node/password", "var/lib/rancher/rke2/agent/client-kubelet.key"])
      assert.equal(guest.get(path), undefined, path);
    assert.equal(guest.get("var/lib/rancher/rke2/agent/server-ca.crt"), undefined);
    assert.equal(guest.get("var/lib/rancher/rke2/agent/containerd/kept"), "x");
    assert.deepEqual(changes().slice(-2), [
      "systemctl disable --now rke2-server.service",
      "systemctl disable --now rke2-agent.service",
    ]);
    assert.equal(guest.calls.at(-1), "killed");
  });

  it("does not take an order that the agent is about to write for one to wipe", () => {
    order("agent");
    joinNow();
    // The agent empties the file when it opens it, and writes the text a moment later.
    guest.put("etc/evergreen/join.ready", "");
    guest.stub("sleep", `printf 'agent ${sha256(data)}' >"${guest.root}/etc/evergreen/join.ready"`);
    joinNow();
    assert.equal(guest.get(FRAGMENT), data);
    assert.ok(!changes().some((call) => call.includes("disable")));
  });

  it("does nothing without an order", () => {
    guest.put("etc/evergreen/join.yaml", data);
    joinNow();
    assert.deepEqual(changes(), []);
  });

  const refused: [what: string, marker: string, text: string | undefined, message: RegExp][] = [
    ["another hash", `agent ${sha256("other")}`, data, /does not have the hash/],
    ["no join data", `agent ${sha256(data)}`, undefined, /does not have the hash/],
    ["another role", `boss ${sha256(data)}`, data, /is not `<server\|agent>/],
    ["half of a hash", `agent ${sha256(data).slice(0, 32)}`, data, /is not `<server\|agent>/],
    ["one word", "agent", data, /is not `<server\|agent>/],
  ];
  for (const [what, marker, text, message] of refused)
    it(`refuses an order with ${what}`, () => {
      if (text !== undefined) guest.put("etc/evergreen/join.yaml", text);
      guest.put("etc/evergreen/join.ready", `${marker}\n`);
      const { status, stderr } = runUnit("join");
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.deepEqual(changes(), []);
      assert.equal(guest.get(FRAGMENT), undefined);
    });
});

describe("the unit for a server that steps down", () => {
  const status = (leader: string) => `[{"Status":{"header":{"member_id":15000000000000000000},"leader":${leader}}}]`;
  const members =
    '{"members":[{"ID":15000000000000000000,"name":"a"},{"ID":255,"name":"b"},{"ID":7,"name":"c","isLearner":true}]}';

  beforeEach(() => {
    begin();
    guest.stub("sleep");
    guest.stub("nft", `case $1 in -f) cat >"${guest.folder}/rules" ;; list) [ -e "${guest.folder}/rules" ] ;; esac`);
    useEtcd("15000000000000000000");
    setUnits("active rke2-server.service");
    guest.put("usr/lib/evergreen/lead.py", readFileSync(join(bakeFolder, "guest/lead.py")));
  });
  afterEach(() => guest.remove());

  /** An etcd of which this member is 15000000000000000000. */
  const useEtcd = (leader: string) =>
    guest.stub(
      "crictl",
      `case $* in
"ps "*) echo container-1 ;;
*"endpoint status"*) echo '${status(leader)}' ;;
*"member list"*) echo '${members}' ;;
*move-leader*) ;;
*) exit 1 ;;
esac`,
    );
  const tell = (order: string): void => {
    guest.put("etc/evergreen/yield", order);
    assert.equal(runUnit("yield").status, 0);
  };
  const moved = () => guest.calls.filter((call) => call.includes("move-leader")).map((call) => call.split(" ").at(-1));

  it("hands the leadership to a voter, and says so last", () => {
    tell("run-1");
    assert.deepEqual(moved(), ["ff"]);
    assert.equal(guest.get("etc/evergreen/yielded"), "run-1\n");
    assert.equal(guest.get("run/evergreen/yielding"), "");
  });

  it("hands over nothing that it does not lead", () => {
    useEtcd("255");
    tell("run-1");
    assert.deepEqual(moved(), []);
    assert.equal(guest.get("etc/evergreen/yielded"), "run-1\n");
  });

  it("says nothing when the leadership stays", () => {
    guest.stub("crictl", "exit 1");
    guest.put("etc/evergreen/yield", "run-1");
    assert.notEqual(runUnit("yield").status, 0);
    assert.equal(guest.get("etc/evergreen/yielded"), undefined);
  });

  it("has nothing to hand over where no server runs", () => {
    setUnits();
    tell("run-1");
    assert.deepEqual(moved(), []);
    assert.equal(guest.get("etc/evergreen/yielded"), "run-1\n");
  });

  it("refuses connections of the balancers that the image names, and of nobody else", () => {
    guest.put("etc/evergreen/balancers", "10.0.0.5\n10.0.0.6\nfd00::5\n");
    tell("run-1");
    const { stdout: rules } = guest.sh(["cat", join(guest.folder, "rules")]);
    assert.match(rules, /balancers \{ type ipv4_addr; elements = \{ 10\.0\.0\.5,10\.0\.0\.6 \}/);
    assert.match(rules, /balancers6 \{ type ipv6_addr; elements = \{ fd00::5 \}/);
  });

  it("serves again when it is told so", () => {
    guest.put("etc/evergreen/balancers", "10.0.0.5\n");
    tell("run-1");
    tell("");
    assert.equal(guest.get("run/evergreen/yielding"), undefined);
    assert.equal(guest.get("etc/evergreen/yielded"), "\n");
    assert.equal(guest.calls.at(-1), "nft delete table inet evergreen");
  });
});

describe("a health check of the registration address", () => {
  beforeEach(begin);
  afterEach(() => guest.remove());

  const ask = (): string =>
    guest.sh(["sh", join(bakeFolder, "guest/health.sh")], "GET / HTTP/1.1\r\nHost: a\r\n\r\nrest").stdout;

  for (const [what, curl, isYielding, answer] of [
    ["ready", "exit 0", false, "200 OK"],
    ["not ready", "exit 22", false, "503 Service Unavailable"],
    ["about to leave", "exit 0", true, "503 Service Unavailable"],
  ] as const)
    it(`is ${answer} of a server that is ${what}`, () => {
      guest.stub("curl", curl);
      if (isYielding) guest.put("run/evergreen/yielding", "");
      assert.equal(ask(), `HTTP/1.0 ${answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    });
});
