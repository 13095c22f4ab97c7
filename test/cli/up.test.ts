import assert from "node:assert/strict";
import { carryThrough, exitCodes, readClusterStatus, type ClusterStatus } from "../../cli/up.ts";
import { heldWords } from "../../cli/rollback.ts";
import { UserError } from "../../src/runtime/errors.ts";
import type { ExitResult } from "../../cli/run-child.ts";
import { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import type { PoolPlan } from "../../src/domain/model/types.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { settledPicture, smallConfig } from "../support/picture.ts";
import { A, B, planned, poolOf, settled, world } from "../domain/rollout/world.ts";

const pool = poolOf(B, { strategy: { onFailure: "rollback" } });
const onA = planned(pool, world(settled(A), [[A, "proved"]]));
const rolling = planned(
  pool,
  world(
    [...settled(B, 2), ...settled(A, 2, 2)],
    [
      [A, "proved"],
      [B, "rolling"],
    ],
  ),
);
const judged = planned(
  pool,
  world(
    [...settled(B, 2), ...settled(A, 2, 2)],
    [
      [A, "proved"],
      [B, "failed"],
    ],
  ),
);
const back = planned(
  pool,
  world(settled(A), [
    [A, "proved"],
    [B, "failed"],
  ]),
);
const onB = planned(pool, world(settled(B), [[B, "proved"]]));

type Seen = PoolPlan | ClusterStatus | Error;

/** What every command answers, in order; a look or an update that was not expected fails the test. */
function handsOf(looks: Seen[], updates: (number | ExitResult)[]) {
  const calls: string[] = [];
  const said: string[] = [];
  const next = <T>(what: string, from: T[]): T => {
    calls.push(what);
    const answer = from.shift();
    assert.ok(answer !== undefined, `unexpected: ${calls.join(", ")}`);
    return answer;
  };
  const hands = {
    tell: (line: string) => void said.push(line),
    repair: () => Promise.resolve(calls.push("repair")),
    readClusterStatus: async () => {
      const seen = await Promise.resolve(next("look", looks));
      if (seen instanceof Error) throw seen;
      return "plans" in seen ? seen : { plans: [seen], servers: undefined };
    },
    update: () => {
      const answer = next("up", updates);
      return Promise.resolve(typeof answer === "number" ? { code: answer, told: undefined } : answer);
    },
  };
  return { hands, calls, said };
}

describe("a rollback whose update has succeeded", () => {
  it("is held when it leads to content that was judged failed, and says how to go further back", () => {
    assert.match(heldWords([onB, back]) ?? "", /^held: workers is on \w+: \w+ was judged failed.* --to$/);
    assert.equal(heldWords([onB, onA, rolling]), undefined);
  });
});

const refusal = new UserError({ what: "no room", where: "here", todo: "make some" });

describe("what evergreen up sees of a site", () => {
  it("is servers that are not healthy when nobody can be asked how they are", async () => {
    await using pve = await fakeProxmox(() => ({ status: 500, reason: "cluster not ready - no quorum?" }));
    const kubernetes = new Kubernetes({ server: "https://127.0.0.1:1", ca: "", cert: "", key: "" });
    const observed = settledPicture({}, kubernetes, "2026-01-01T00:00:00Z");
    const { plans, servers } = await readClusterStatus({ pve: pve.client, config: smallConfig(), observed });
    await kubernetes.close();
    assert.deepEqual(
      plans.map(({ kind }) => kind),
      ["steady", "steady"],
    );
    assert.match(servers ?? "calm", /no quorum/);
  });

  it("is servers that are not healthy when none of them runs", async () => {
    await using pve = await fakeProxmox(({ path }) =>
      path.includes("/agent/") ? { status: 500, reason: "QEMU guest agent is not running" } : { data: [] },
    );
    const kubernetes = new Kubernetes({ server: "https://127.0.0.1:1", ca: "", cert: "", key: "" });
    const live = settledPicture({}, kubernetes, "2026-01-01T00:00:00Z");
    const { servers } = await readClusterStatus({ pve: pve.client, config: smallConfig(), observed: live });
    await kubernetes.close();
    assert.equal(servers, "no server runs that has started RKE2");
  });
});

describe("evergreen up", () => {
  const cases: [string, Seen[], (number | ExitResult)[], string, number, RegExp][] = [
    ["what goes well", [onA, onB], [0], "repair look up look", 0, /^done: all is as the configuration asks$/],
    [
      "a verdict",
      [onA, judged, back],
      [1, 0],
      "repair look up look up look",
      exitCodes.rolledBack,
      /^rolled back: workers is on/,
    ],
    [
      "a failure without a verdict",
      [onA, rolling],
      [1],
      "repair look up look",
      1,
      /^failed: the update failed; .*goes on from there$/,
    ],
    [
      "a second failure",
      [onA, judged, judged],
      [1, 1],
      "repair look up look up look",
      1,
      /^failed: the second update failed too/,
    ],
    ["a return that was due and fails", [judged, judged], [1], "repair look up look", 1, /^failed: the update failed;/],
    ["a return that was due", [judged, back], [0], "repair look up look", exitCodes.rolledBack, /^rolled back/],
    ["what is held", [back, back], [0], "repair look up look", exitCodes.held, /^held: workers is on/],
    ["an engine that was killed", [onA, rolling], [137], "repair look up look", 1, /^failed/],
    [
      "a site that cannot be read after a failure",
      [onA, refusal],
      [1],
      "repair look up look",
      1,
      /^failed: the update failed/,
    ],
    ["SIGTERM", [onA], [{ code: 1, told: "SIGTERM" }], "repair look up", 143, /^stopped by SIGTERM/],
    [
      "SIGINT after which the update still ended well",
      [onA],
      [{ code: 0, told: "SIGINT" }],
      "repair look up",
      130,
      /^stopped by SIGINT/,
    ],
    [
      "SIGINT in the second update",
      [onA, judged],
      [1, { code: 1, told: "SIGINT" }],
      "repair look up look up",
      130,
      /^stopped/,
    ],
    ["a node that needs a moment", [onA, rolling, onB], [0], "repair look up look look", 0, /^done/],
    ["a look that fails once", [onA, refusal, onB], [0], "repair look up look look", 0, /^done/],
  ];
  for (const [title, looks, updates, expected, code, line] of cases) {
    it(`answers ${title} by: ${expected}`, async () => {
      const { hands, calls, said } = handsOf(looks, updates);
      const result = await carryThrough(hands, 5);
      assert.equal(calls.join(" "), expected);
      assert.equal(said.length, expected.split("up").length - 2, "a second update is announced");
      assert.equal(result.code, code, result.line);
      assert.match(result.line, line);
    });
  }

  it("does not begin when an update would be refused", async () => {
    const { hands, calls } = handsOf([refusal], []);
    await assert.rejects(carryThrough(hands), refusal);
    assert.deepEqual(calls, ["repair", "look"]);
  });

  it("is not done while the control plane is not healthy, and names who is not", async () => {
    const { hands } = handsOf([onA, { plans: [onB], servers: "demo-servers-0 is a voter and not healthy" }], [0]);
    const { code, open, line } = await carryThrough(hands, 0);
    assert.equal(code, 1);
    assert.match(open.join(), /control plane is not healthy: demo-servers-0 is a voter and not healthy/);
    assert.match(line, /^failed: the update ended, but the cluster is not as it should be$/);
  });

  it("is not done when the site cannot be read at the end, and says why", async () => {
    const { hands } = handsOf([onA, refusal], [0]);
    const { code, open } = await carryThrough(hands, 0);
    assert.equal(code, 1);
    assert.match(open.join(), /no room\n {2}where: here/);
  });

  it("has an exit code for every outcome, and one only", () => {
    assert.equal(new Set(Object.values(exitCodes)).size, 5);
  });
});
