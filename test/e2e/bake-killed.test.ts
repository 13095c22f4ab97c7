import assert from "node:assert/strict";
import type { LabStatus } from "../../lab/control.ts";
import { Bakes } from "../crash/bakes.ts";
import { killTree } from "./processes.ts";
import { Site, untilSaid, type Ran, type Running } from "./site.ts";

describe("an update that bakes, proves and rolls, and is killed", function () {
  this.timeout(600_000);
  let site: Site;
  let bakes: Bakes;

  before(async () => {
    site = await Site.create("127.108");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2 });
    await site.up();
    bakes = await Bakes.start(site);
    await site.load({ replicas: 4 });
  });

  after(async () => {
    await bakes.close();
    await site.close();
  });

  const evergreenUp = (): Running => site.startEvergreenWith(bakes.environment, "up", "--stack", "dev");
  const pulumiUp = (): Running =>
    site.startLauncher(["up", "--yes", "--skip-preview", "--stack", "dev"], bakes.environment);

  const seen = (what: string, isSo: (status: LabStatus) => boolean) => (): Promise<void> =>
    site.until(what, async () => isSo(await site.lab.status));
  const said = (text: RegExp) => (run: Running) => untilSaid(run, text);

  /** Moments of one update, in their order. */
  const moments: [where: string, moment: (run: Running) => Promise<void>][] = [
    ["the bake", said(/bake, stage images/)],
    ["the seal", said(/seal, stage identity/)],
    ["the proof", seen("the clone of the proof to run", ({ vms }) => vms.some((vm) => vm.vmid === 9599 && vm.running))],
    ["the roll", seen("a node to be emptied", ({ nodes }) => nodes.some(({ schedulable }) => !schedulable))],
  ];

  /** Kills a run and all that it has started at a moment. */
  async function kill(run: Running, moment: (run: Running) => Promise<void>): Promise<Ran> {
    // A run that ends earlier says why.
    const early = run.ended.then(({ output }) => assert.fail(`it ended before it was killed:\n${output}`));
    await Promise.race([moment(run), early]);
    early.catch(() => undefined);
    await killTree(run.pid);
    return await run.ended;
  }

  async function requireRolled({ code, output }: Ran, before: readonly string[]): Promise<void> {
    assert.equal(code, 0, output);
    const after = await site.vms("workers");
    assert.equal(after.length, 2);
    assert.ok(!after.some((name) => before.includes(name)));
    const { vms } = await site.lab.status;
    const images = vms.filter(({ name }) => after.includes(name)).map(({ image }) => image);
    assert.deepEqual(images, [bakes.image, bakes.image]);
    assert.deepEqual(await bakes.ended(), []);
    assert.deepEqual(await site.complaints(), []);
  }

  for (const [command, up] of [
    ["evergreen up", evergreenUp],
    ["pulumi up", pulumiUp],
  ] as const)
    it(`goes on with the next ${command} wherever it was killed, and makes the image once`, async () => {
      const before = await site.vms("workers");
      await site.configure(await bakes.next());
      for (const [where, moment] of moments) {
        const { output } = await kill(up(), moment);
        assert.deepEqual(await bakes.look(), [], `killed in ${where}:\n${output}`);
        if (where !== "the roll") assert.deepEqual(await site.vms("workers"), before, `killed in ${where}`);
        await site.expireLeases();
      }
      const last = await up().ended;
      await requireRolled(last, before);
      assert.doesNotMatch(last.output, /is booted twice|bake, stage/);
      const again = await site.pulumi(
        ["up", "--yes", "--skip-preview", "--stack", "dev", "--expect-no-changes"],
        bakes.environment,
      );
      assert.equal(again.code, 0, again.output);
    });

  it("in the midst of a bake that fails afterwards, leaves nothing, and rolls the next version", async () => {
    const before = await site.vms("workers");
    await site.configure(await bakes.next());
    await site.lab.call("POST /faults", { kind: "bake", fault: "fails", stage: "images", output: ["no images"] });
    await kill(evergreenUp(), said(/bake, stage quiet/));
    const failed = await evergreenUp().ended;
    await site.lab.call("DELETE /faults", undefined);
    assert.equal(failed.code, 1, failed.output);
    assert.match(failed.output, /the stage images of the bake failed/);
    assert.match(failed.output, /nothing of it is left in Proxmox/);
    assert.deepEqual(await site.vms("workers"), before);
    await site.configure(await bakes.next());
    await requireRolled(await evergreenUp().ended, before);
  });
});
