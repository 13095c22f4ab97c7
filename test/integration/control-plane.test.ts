import assert from "node:assert/strict";
import { Deadline, DeadlineError } from "../../src/runtime/deadline.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import type { ServerNode } from "../../src/clients/kubernetes/servers.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { awaitMembers, ControlPlaneRefusal, requireMayJoin } from "../../src/steps/cluster/control-plane.ts";
import { findInEtcd } from "../../src/steps/cluster/own-member.ts";
import { requireMayLeave } from "../../src/steps/cluster/leaving-etcd.ts";

describe("a server that joins", () => {
  const name = "demo-servers-0-0a1b2c3d";
  const deadline = () => new Deadline("the control plane to be healthy", 2);
  const server = (member: ServerNode["member"], called = name) => ({ name: called, member }) as ServerNode;

  const own = { node: name, address: "10.0.1.10", address6: "fd00::10" };
  const cases: [when: string, servers: ServerNode[], part: ServerNode["member"]][] = [
    ["etcd has it among its voters", [server("voter")], "voter"],
    ["it is still a learner", [server("learner")], "learner"],
    ["it is a learner that has not started, which has no name", [server("learner", own.address)], "learner"],
    ["it is such a learner with its IPv6 address", [server("learner", own.address6)], "learner"],
    ["it has a Node and is no member", [server("none")], "none"],
    ["only another one is a voter", [server("voter", "demo-servers-1-0a1b2c3d")], "none"],
  ];
  for (const [when, servers, part] of cases)
    it(`is called ${part} when ${when}`, async () => {
      assert.equal((await findInEtcd(() => Promise.resolve(servers), deadline(), own))?.member ?? "none", part);
    });

  it("is asked for again when nobody could be asked, and nothing is disturbed when that lasts", async () => {
    let looks = 0;
    const sight = () =>
      (looks += 1) === 1 ? Promise.reject(new Error("no leader")) : Promise.resolve([server("voter")]);
    assert.equal((await findInEtcd(sight, deadline(), own))?.member, "voter");
    const blind = findInEtcd(() => Promise.reject(new Error("no leader")), deadline(), own);
    await assert.rejects(blind, (error: unknown) => {
      assert.ok(error instanceof ControlPlaneRefusal);
      assert.match(error.message, /not healthy, so nothing is disturbed: no leader/);
      return true;
    });
  });
});

describe("a server that leaves", () => {
  const server = (slot: number, generation = "0a1b2c3d"): ServerNode => ({
    name: `demo-servers-${slot}-${generation}`,
    node: true,
    member: "voter",
    health: "healthy",
    slot: String(slot),
    kubelet: "v1.34.4+rke2r1",
  });
  const incomplete = server(1, "bbbbbbbb");

  for (const [when, told, servers, isIncomplete, may] of [
    ["its slot has another one, and each slot has its own", "3", [0, 1, 2], false, true],
    ["its slot has another one, and a slot is still empty", "3", [0, 1], false, true],
    ["it is incomplete, and each slot has its own", "3", [0, 1, 2], true, true],
    ["it is incomplete, and may be the voter that an empty slot lacks", "3", [0, 1], true, false],
    ["nobody has told how many are wanted", undefined, [0, 1], true, true],
  ] as [string, string | undefined, number[], boolean, boolean][])
    it(`${may ? "may go" : "stays"} when ${when}`, async () => {
      const data = told === undefined ? {} : { servers: told };
      const find = (path: string) => Promise.resolve(path.endsWith("/cluster") ? { data } : undefined);
      const client = { find, list: () => Promise.resolve({ items: [] }) } as unknown as Kubernetes;
      const all = [...servers.map((slot) => server(slot)), incomplete];
      const leaves = requireMayLeave(client, { name: incomplete.name, pool: "servers" }, all, isIncomplete);
      await (may ? leaves : assert.rejects(leaves, ControlPlaneRefusal));
    });

  it("is replaced by one that comes beside it alone with consent only", () => {
    const joins = (replaceOnlyServer?: boolean) => {
      const strategy = { kind: "rolling", ...(replaceOnlyServer === undefined ? {} : { replaceOnlyServer }) };
      requireMayJoin({ node: incomplete.name, slot: 1, strategy } as unknown as SlotInput, [server(1)]);
    };
    assert.throws(() => joins(), ControlPlaneRefusal);
    joins(true);
  });

  it("is waited for to be gone, and another one to be there, before the change is over", async () => {
    const over = (expected: string[]) => {
      const sight = () => Promise.resolve([server(0)]);
      return awaitMembers(sight, expected, new Deadline("etcd to be healthy", 0.2));
    };
    await over([server(0).name]);
    await assert.rejects(over([server(0).name, server(1).name]), DeadlineError);
  });
});
