import assert from "node:assert/strict";
import { join } from "node:path";
import { Deadline } from "../../src/runtime/deadline.ts";
import { locksOf, PROJECT } from "../../src/recovery/engine-state.ts";
import { end, ended, environmentOf, killBelow, offspring, processBelow } from "../e2e/processes.ts";
import { Site, untilSaid, type Running } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const slots = 5;

/** One roll, killed again and again; every next run goes on from where the last one was killed. */
describe("a roll that is killed", function () {
  this.timeout(480_000);
  let site: Site;
  const orphans: number[] = [];

  before(async () => {
    site = await Site.create("127.76");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": slots, "pools.0.strategy.surge": 1 });
    await site.up();
    await site.load({ replicas: 6 });
    await site.configure({ "pools.0.image": newer });
  });

  after(async () => {
    // The plugins of a killed engine live on.
    end(orphans);
    await site.close();
  });

  afterEach(async () => {
    await site.lab.call("DELETE /faults", undefined);
    assert.deepEqual((await site.lab.status).violations, []);
  });

  const arguments_ = ["up", "--yes", "--skip-preview", "--stack", "dev"];
  /** Longest wait for what happens in a run, in seconds: it first waits for the leases of those that were killed. */
  const patience = 90;
  const updater = async () => (await site.lease("update"))?.holderIdentity;
  const free = () =>
    site.until("the lease of the update to be given back", async () => (await updater()) === undefined);
  /** A run that was asked to stop says so by its exit code, and leaves no lock behind, the cluster's neither. */
  const stopped = async (run: Running): Promise<void> => {
    const { code, output } = await run.ended;
    assert.ok(code !== 0 && code !== null, `code ${code}:\n${output}`);
    assert.deepEqual(locksOf(join(site.lab.directory, "state"), PROJECT, "dev"), []);
    await free();
  };

  /** Waits for something to happen in the lab after now. */
  const moment = async (): Promise<(text: RegExp) => Promise<string>> => {
    const after = (await site.lab.events()).at(-1)?.number ?? 0;
    return async (text) =>
      await new Deadline(`the event ${text.source}`, patience).poll(
        20,
        async () => (await site.lab.events(after)).find((event) => text.test(event.text))?.text,
        () => "",
      );
  };
  const cloned = / demo-workers-\d-\w+ created$/;
  const started = / demo-workers-\d-\w+ started$/;
  const cordoned = async (): Promise<string> =>
    await new Deadline("a cordon", patience).poll(
      20,
      async () => (await site.lab.status).nodes.find((node) => node.pool === "workers" && !node.schedulable)?.name,
    );
  /** A window in which the clone exists and the provider has not configured it yet. */
  const slowConfiguration = () =>
    site.lab.call("POST /faults", { kind: "latency", milliseconds: 3000, match: "PUT nodes/.*/config" });
  const kill = async (pid: number): Promise<void> => {
    const below = offspring(pid).map((one) => one.pid);
    process.kill(pid, "SIGKILL");
    await ended([pid]);
    orphans.push(...below);
  };
  const nodeOf = async (name: string) => (await site.lab.status).nodes.find((node) => node.name === name);
  const named = async (name: string) => (await site.lab.status).vms.filter((vm) => vm.name === name);

  it("of its engine during a clone is repaired by the next up: the incomplete VM goes, then the roll goes on", async () => {
    const event = await moment();
    await slowConfiguration();
    const run = site.start(arguments_);
    const half = (await event(cloned)).split(" ")[1] ?? "";
    await kill(run.pid);
    await site.lab.call("DELETE /faults", undefined);

    const joins = await moment();
    const again = site.startLauncher(arguments_);
    await joins(started);
    await kill(again.child.pid ?? 0);
    const { output } = await again.ended;
    assert.match(output, /an earlier run of stack dev was killed/);
    assert.match(output, /the lock of engine \d+, which died\n {2}-> cancelled it/);
    assert.match(output, new RegExp(`destroyed the incomplete VM \\d+ \\(${half}\\)`));
    assert.equal((await named(half)).length, 1);
  });

  it("of its engine during a join is repaired by hand, a line each, and twice does nothing", async () => {
    const first = await site.evergreen("repair", "--stack", "dev");
    assert.equal(first.code, 0, first.output);
    assert.match(first.output, /the lock of engine \d+, which died\n {2}-> cancelled it/);
    assert.match(first.output, /\d+ repaired\n$/);
    const second = await site.evergreen("repair", "--stack", "dev");
    assert.equal(second.output, "nothing to repair\n");
  });

  it("of its engine during a handover meets the next up: a step that lives on finds its lease taken", async () => {
    // The drain lasts until its evictions are allowed.
    await site.calm();
    await site.denyEvictions("load");
    const run = site.start(arguments_);
    const leaving = await cordoned();
    const step = await processBelow(run.pid, /step\.mjs.* handover/);
    const environment = environmentOf(step);
    await untilSaid(run, /stays for now, and is asked again until it goes: .*not tonight/);
    await kill(run.pid);
    await ended([step]);
    assert.equal((await nodeOf(leaving))?.schedulable, true, "a step whose engine is gone gives the node back");
    await free();

    // One that does not notice: it is at work when the next run comes, and has the right to update the cluster.
    const orphan = site.startStep("handover", environment);
    await cordoned();
    const repaired = await site.evergreen("repair", "--stack", "dev");
    assert.equal(repaired.code, 1, repaired.output);
    const holder = await updater();
    assert.ok(holder);
    assert.match(repaired.output, /another update of the cluster demo is running/);
    assert.ok(repaired.output.includes(`update is held by ${holder}`), repaired.output);
    await killBelow(orphan.child.pid ?? 0, /step\.mjs keep/);
    await site.giveLease("update", "root@elsewhere (process 1.1 in 0123456789abcdef)");
    const { code, output } = await orphan.ended;
    assert.equal(code, 1, output);
    assert.match(output, /the lease update was lost: another process took it \(root@elsewhere/);
    assert.doesNotMatch(output, /serves again$|judged failed/m);
    assert.equal((await nodeOf(leaving))?.schedulable, false, "the orphan uncordoned what another run empties");
    await site.giveLease("update", "");
    await site.allowEvictions("load");
    const next = site.startLauncher(arguments_);
    await untilSaid(next, new RegExp(`${leaving} is retired and off`));
    assert.match(next.said(), /the lock of engine \d+, which died\n {2}-> cancelled it/);
    next.child.kill("SIGINT");
    await stopped(next);
  });

  it("of a plugin during a clone, a join or a handover leaves what the next up finishes", async () => {
    const moments = [
      { plugin: /pulumi-resource-proxmoxve/, at: cloned },
      { plugin: /command-plugin|pulumi-resource-command/, at: started },
      { plugin: /command-plugin|pulumi-resource-command/, at: undefined },
    ];
    for (const { plugin, at } of moments) {
      const event = await moment();
      if (at === cloned) await slowConfiguration();
      const run = site.start(arguments_);
      if (at) await event(at);
      else await cordoned();
      await killBelow(run.pid, plugin);
      const { code, output } = await run.ended;
      assert.notEqual(code, 0, output);
      await site.lab.call("DELETE /faults", undefined);
    }
  });

  it("of a step at its start, during a join or a handover leaves what the next up finishes", async () => {
    for (const verb of ["", "join", "handover"]) {
      const event = await moment();
      const run = site.start(arguments_);
      if (verb === "join") await event(started);
      if (verb === "handover") await cordoned();
      await killBelow(run.pid, new RegExp(`step\\.mjs (?!keep).*${verb}`));
      const { code, output } = await run.ended;
      assert.notEqual(code, 0, output);
      assert.match(output, /signal: killed/);
    }
  });

  it("by Ctrl-C, SIGTERM or Ctrl-C twice ends soon, without a lock or a process that lives on", async () => {
    // However far the kills before let the roll come, three slots are left for the signals.
    await site.configure({ "pools.0.rollout": 1 });
    for (const signals of [["SIGINT"], ["SIGTERM"], ["SIGINT", "SIGINT"]] as const) {
      const run = site.start(arguments_);
      await untilSaid(run, /pods evicted|is retired and off/);
      const below = offspring(run.pid).map(({ pid }) => pid);
      for (const signal of signals) run.child.kill(signal);
      await stopped(run);
      await ended(below);
    }
  });

  it("ends right in the end: every slot once, nothing left over, nobody disturbed", async () => {
    const mended = await site.evergreen("repair", "--stack", "dev");
    assert.equal(mended.code, 0, mended.output);
    const again = await site.launcher(...arguments_);
    assert.equal(again.code, 0, again.output);
    const { vms, nodes } = await site.lab.status;
    const workers = vms.filter((vm) => !vm.template && vm.name.includes("-workers-"));
    assert.equal(workers.length, slots, workers.map(({ name }) => name).join());
    assert.deepEqual(new Set(workers.map(({ image }) => image)), new Set([newer]));
    assert.deepEqual(
      nodes.filter(({ schedulable, ready }) => !schedulable || !ready),
      [],
    );
    assert.deepEqual(await site.complaints(), []);
    const repair = await site.evergreen("repair", "--stack", "dev");
    assert.equal(repair.output, "nothing to repair\n");
    await site.unchanged();
  });
});
