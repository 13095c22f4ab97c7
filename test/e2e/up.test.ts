import assert from "node:assert/strict";
import { join } from "node:path";
import { locksOf, PROJECT } from "../../src/recovery/engine-state.ts";
import { Site } from "./site.ts";

const older = "ubuntu-24.04-rke2-v1.0.0";
const newer = "ubuntu-24.04-rke2-v1.1.0";

/** One server and two agents, kept by `evergreen up` alone, as a schedule would. */
describe("evergreen up, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.94");
    await site.configure({
      "controlPlane.servers": 1,
      "pools.0.slots": 2,
      "pools.0.strategy.surge": 1,
      "pools.0.strategy.onFailure": "rollback",
    });
  });

  after(async () => {
    await site.close();
  });

  /** @returns the lines that it printed */
  const ends = async (code: number): Promise<string[]> => {
    const ran = await site.evergreen("up", "--stack", "dev");
    assert.equal(ran.code, code, ran.output);
    return ran.output.trimEnd().split("\n");
  };
  const updates = (lines: readonly string[]): number =>
    lines.filter((line) => line.startsWith("Updating (dev)")).length;

  it("creates the cluster: done", async () => {
    const lines = await ends(0);
    assert.equal(lines.at(-1), "done: all is as the configuration asks");
    assert.equal(updates(lines), 1);
    await site.load({ replicas: 4 });
  });

  it("returns from an image that never gets ready, at once: rolled back; after that it is held", async () => {
    const before = await site.vms("workers");
    await site.lab.call("POST /faults", { kind: "image", template: newer, fault: "never-ready" });
    await site.configure({ "pools.0.image": newer, "timeouts.joinSeconds": 6 });
    const lines = await ends(12);
    assert.equal(updates(lines), 2, lines.join("\n"));
    assert.match(
      lines.at(-1) ?? "",
      /^rolled back: workers is on \w+: \w+ was judged failed; change the pool's content/,
    );
    assert.deepEqual(await site.vms("workers"), before);
    assert.match((await ends(11)).at(-1) ?? "", /^held: workers is on/);
    assert.deepEqual(await site.complaints(), []);
  });

  it("is done again once the change was reverted", async () => {
    await site.lab.call("DELETE /faults", undefined);
    await site.configure({ "pools.0.image": older, "timeouts.joinSeconds": 60 });
    assert.match((await ends(0)).at(-1) ?? "", /^done: /);
  });

  it("ends when it is told to, and leaves no lock; the next run goes on to a canary that soaks: paused", async () => {
    await site.configure({
      "pools.0.cores": 3,
      "pools.0.strategy.canary": 1,
      "pools.0.strategy.soakSeconds": 3600,
    });
    const before = await site.vms("workers");
    const { child, ended } = site.startEvergreen("up", "--stack", "dev");
    const came = async (): Promise<boolean> => (await site.vms("workers")).some((name) => !before.includes(name));
    await site.until("the first new VM", came);
    child.kill("SIGTERM");
    const { code, output } = await ended;
    assert.equal(code, 143, output);
    assert.match(output, /\nstopped by SIGTERM: what was finished stays, and the next run goes on from there\n$/);
    assert.deepEqual(locksOf(join(site.lab.directory, "state"), PROJECT, "dev"), []);

    const last = (await ends(10)).at(-1) ?? "";
    const [, until = ""] =
      /^paused: 1 of 2 slots of workers soak until (\S+); a run after that goes on$/.exec(last) ?? [];
    assert.ok(Date.parse(until) > Date.now(), last);
    assert.deepEqual(await site.complaints(), []);
  });

  it("is refused in words and with the code of a failure when no plan keeps the rules", async () => {
    await site.configure({ "pools.0.image": "ubuntu-24.04-rke2-v9.9.9" });
    const lines = await ends(1);
    assert.match(lines.at(-1) ?? "", /^failed: see above; /);
    assert.equal(updates(lines), 0);
  });
});
