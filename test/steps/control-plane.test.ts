import assert from "node:assert/strict";
import { Deadline } from "../../common/deadline.ts";
import type { ServerNode } from "../../kubernetes/servers.ts";
import { ControlPlaneRefusal, isVoterAlready } from "../../steps/control-plane.ts";

describe("a server that joins", () => {
  const name = "demo-servers-0-0a1b2c3d";
  const deadline = () => new Deadline("the control plane to be well", 2);
  const server = (member: ServerNode["member"], called = name) => ({ name: called, member }) as ServerNode;

  const cases: [when: string, servers: ServerNode[], isBack: boolean][] = [
    ["etcd has it among its voters", [server("voter")], true],
    ["it is still a learner", [server("learner")], false],
    ["it has a Node and is no member", [server("none")], false],
    ["only another one is a voter", [server("voter", "demo-servers-1-0a1b2c3d")], false],
  ];
  for (const [when, servers, isBack] of cases)
    it(`${isBack ? "only comes back" : "has yet to be let in"} when ${when}`, async () => {
      assert.equal(await isVoterAlready(() => Promise.resolve(servers), deadline(), name), isBack);
    });

  it("is asked for again when nobody could be asked, and nothing is disturbed when that lasts", async () => {
    let looks = 0;
    const sight = () =>
      (looks += 1) === 1 ? Promise.reject(new Error("no leader")) : Promise.resolve([server("voter")]);
    assert.equal(await isVoterAlready(sight, deadline(), name), true);
    const blind = isVoterAlready(() => Promise.reject(new Error("no leader")), deadline(), name);
    await assert.rejects(blind, (error: unknown) => {
      assert.ok(error instanceof ControlPlaneRefusal);
      assert.match(error.message, /not well, so nothing is disturbed: no leader/);
      return true;
    });
  });
});
