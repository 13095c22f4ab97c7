import assert from "node:assert/strict";
import { Deadline } from "../../src/runtime/deadline.ts";
import { end, ended, killBelow, offspring } from "../e2e/processes.ts";
import { Site, untilSaid } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const args = ["up", "--yes", "--skip-preview", "--stack", "dev"];

/** One update of a cluster at a time, from its first moment with an API to its last delete. */
describe("an update that is alone", function () {
  this.timeout(300_000);
  let site: Site;
  const orphans: number[] = [];

  before(async () => {
    site = await Site.create("127.52");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "pools.0.strategy.surge": 1 });
  });

  after(async () => {
    end(orphans);
    await site.close();
  });

  const holder = async () => (await site.lease("update"))?.holderIdentity;
  const until = async (what: string, isSo: () => Promise<boolean>) =>
    await new Deadline(what, 120).poll(20, async () => ((await isSo()) ? true : undefined));

  it("holds the cluster in its first creation as soon as there is an API, and gives it back when it has ended", async () => {
    const run = site.start(args);
    const pid = run.pid;
    await until("the lease", async () => (await holder().catch(() => undefined)) !== undefined);
    assert.match((await holder()) ?? "", new RegExp(`\\(process ${pid}\\.\\d+ in [0-9a-f]{16}\\)$`));
    const repair = await site.evergreen("repair", "--stack", "dev");
    assert.match(repair.output, /an update of stack dev is running|waiting: update is held by/);
    assert.doesNotMatch(repair.output, /destroyed|cancelled/);
    const { code, output } = await run.ended;
    assert.equal(code, 0, output);
    await until("the lease to be given back", async () => (await holder()) === undefined);
  });

  it("ends before its next effect when its lease is somebody else's", async () => {
    await site.configure({ "pools.0.image": newer });
    const before = await site.vms("workers");
    const run = site.start(args);
    await until("the lease", async () => (await holder()) !== undefined);
    await site.giveLease("update", "root@elsewhere (process 1.1 in 0123456789abcdef)");
    const { code, output } = await run.ended;
    assert.notEqual(code, 0, output);
    assert.match(output, /the lease update was lost: another (process|run) took it \(root@elsewhere/);
    const left = await site.vms("workers");
    assert.deepEqual(
      before.filter((name) => !left.includes(name)),
      [],
      "a node was taken away after the loss",
    );
    await site.giveLease("update", "");
  });

  it("holds it while the engine deletes, and a killed one is over at once", async () => {
    // The engine destroys what the handovers of this run have retired.
    const run = site.start(args);
    const { pid } = run;
    await untilSaid(run, /VmLegacy \S+ deleting/);
    const isProgram = () => offspring(pid).some(({ command }) => command.includes("pulumi-language-nodejs"));
    assert.match((await holder()) ?? "", new RegExp(`process ${pid}\\.`), `program: ${isProgram()}`);
    const below = offspring(pid).map((one) => one.pid);
    process.kill(pid, "SIGKILL");
    await ended([pid]);
    orphans.push(...below);
    await until("the lease to be given back", async () => (await holder()) === undefined);
    const again = await site.launcher(...args);
    assert.equal(again.code, 0, again.output);
    assert.match(again.output, /the lock of engine \d+, which died/);
  });

  it("begins nothing more when nobody keeps its lease any more, says so, and hinders no next run", async () => {
    await site.configure({ "pools.0.rollout": 1 });
    const before = await site.vms("workers");
    const run = site.start(args);
    await killBelow(run.pid, /step\.mjs keep/);
    const { code, output } = await run.ended;
    assert.notEqual(code, 0, output);
    assert.match(output, /the process that keeps the lease update has ended/);
    assert.match(output, /where: dist\/step\.mjs keep: SIGKILL/);
    assert.match(output, /do: {4}nothing new was begun; run pulumi up again/);
    assert.deepEqual(await site.vms("workers"), before);
    assert.match((await holder()) ?? "", new RegExp(`process ${run.pid}\\.`), "nobody gives it back");
    // Its holder is dead, and that is seen here.
    const next = await site.up();
    assert.doesNotMatch(next, /waiting: update is held/);
    assert.notDeepEqual(await site.vms("workers"), before);
  });

  it("plans with what it sees once it is alone: the run that it waits for may have judged the content", async () => {
    const before = await site.vms("workers");
    const { generations } = await site.record("workers");
    await site.configure({ "pools.0.rollout": 0 });
    const isOut = (id: string) => !before.some((name) => name.endsWith(id));
    const wanted = generations.find(({ id, spec }) => spec.image === newer && isOut(id))?.id ?? "";
    await site.giveLease("update", "root@elsewhere (process 1.1 in 0123456789abcdef)");
    const run = site.start(args);
    await untilSaid(run, /waiting: update is held/);
    await site.judge("workers", wanted, "failed");
    await site.giveLease("update", "");
    const { output } = await run.ended;
    assert.match(output, new RegExp(`${wanted} was judged failed`));
    assert.deepEqual(await site.vms("workers"), before);
  });
});
