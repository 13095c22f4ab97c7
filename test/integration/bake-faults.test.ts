import assert from "node:assert/strict";
import { site } from "../../lab/proxmox/site.ts";
import type { BakeFault } from "../../lab/types.ts";
import type { BakeOrder } from "../../src/domain/images/bake.ts";
import { STAGES } from "../../src/domain/images/stages.ts";
import { UserError } from "../../src/runtime/errors.ts";
import { BakeStage } from "../support/bake-step.ts";
import { bakeWithAgent, labBake } from "../lab/support/bake-site.ts";

describe("a bake that fails", function () {
  this.timeout(120_000);
  let stage: BakeStage;

  before(async () => {
    stage = await BakeStage.start(28_409);
    await stage.lab.download(labBake());
    await stage.lab.download(bakeWithAgent());
  });
  afterEach(async () => stage.clear());
  after(async () => stage.stop());

  /** The error of a bake that must fail, and leave nothing. */
  async function failureOf(order: BakeOrder): Promise<UserError> {
    const error = await stage.bake(order).then(
      () => assert.fail("the bake has not failed"),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof UserError, String(error));
    assert.deepEqual(stage.remains(), { vms: [], cds: [] });
    return error;
  }

  for (const { name } of [...STAGES.bake, ...STAGES.seal])
    it(`in the stage ${name}, says so, keeps its log, and leaves nothing`, async () => {
      stage.lab.rack.bakeFaults = [{ fault: "fails", stage: name, output: ["one", `two of ${name}`] }];
      const { problem } = await failureOf(stage.order({}, bakeWithAgent()));
      const kind = STAGES.bake.some((one) => one.name === name) ? "bake" : "seal";
      const end = `the stage ${name} of the ${kind} failed: false: exit code 1\n  | one\n  | two of ${name}`;
      assert.equal(problem.what, `the bake of lab-image-v1.2.0 failed: ${end}`);
      assert.match(problem.todo, /nothing of it is left in Proxmox$/);
      const log = stage.logs().find((text) => text.includes(`two of ${name}`)) ?? "";
      assert.match(log, new RegExp(`^The bake of lab-image-v1\\.2\\.0 .* failed at .*:\n${end.split("\n")[0] ?? ""}`));
      assert.match(log, new RegExp(`=== /run/evergreen-bake/${kind}.log\n[^]*== ${name}\none\n`));
    });

  const hangs: [what: string, fault: BakeFault, says: RegExp][] = [
    [
      "fails before its agent is there",
      { fault: "no-archive" },
      /its guest went off while the bake waited for the guest agent.* does it reach the archive/,
    ],
    [
      "has an agent that never comes",
      { fault: "no-agent" },
      /the guest agent, which comes with the stages quiet, archive, packages did not come within 5880 s; its agent does not answer/,
    ],
    ["hangs", { fault: "hang", stage: "units" }, /the stage units did not come within 780 s; its agent answers/],
    ["hangs in its seal", { fault: "hang", stage: "traces" }, /the end of the stage traces did not come within 780 s/],
    ["ends a stage itself", { fault: "timeout", stage: "images" }, /sleep infinity: not done after 3600 s/],
    [
      "dies, before or after it has told that the stage began",
      { fault: "dies", stage: "units" },
      /the (end of the stage images did not come within 3780|stage units did not come within 780) s; its agent does not answer/,
    ],
    ["gets an artefact that ends early", { fault: "cut-artefact" }, /refuse '.* is not the one of the definition/],
  ];
  for (const [what, fault, says] of hangs)
    it(`because its guest ${what}, names it and leaves nothing`, async () => {
      stage.lab.rack.bakeFaults = [fault];
      assert.match((await failureOf(stage.order())).message, says);
    });

  for (const name of ["files", "identity"])
    it(`because its guest loses its power in the stage ${name}, is made anew or says so, and leaves nothing`, async () => {
      stage.lab.rack.bakeFaults = [{ fault: "power-cut", stage: name }];
      const { message } = await failureOf(stage.order());
      assert.match(message, /its guest went off/);
    });

  it("a check of the sealed guest, says which one, and leaves nothing", async () => {
    const { lab } = stage;
    lab.bench.dc.fault = (moment, { endpoint, params }) => {
      const isOfChecks = endpoint.endsWith("/agent/exec") && (params.get("input-data") ?? "").includes("machine-id");
      if (moment !== "before" || !isOfChecks) return undefined;
      return { hold: () => lab.consoleRun(9100, "echo uninitialized >/etc/machine-id").then(() => false) };
    };
    const { message } = await failureOf(stage.order());
    assert.match(
      message,
      /the sealed guest does not pass its checks\n.*machine-id-empty looks at .* found: uninitialized/,
    );
  });

  it("because the storage has no room for its CD, says so and leaves nothing", async () => {
    const storage = stage.lab.bench.dc.storages.get(site.imageStorage);
    assert.ok(storage);
    const before = storage.baseUsed;
    storage.baseUsed = storage.total;
    const { message } = await failureOf(stage.order());
    storage.baseUsed = before;
    assert.match(message, /the upload of evergreen-bake-9100-.* failed: import failed/);
  });

  const refusals: [what: string, method: string, endpoint: RegExp][] = [
    ["makes no VM", "POST", /^nodes\/\{node\}\/qemu$/],
    ["does not grow a disk", "PUT", /\/resize$/],
    ["starts no VM", "POST", /\/status\/start$/],
    ["makes no template", "POST", /\/template$/],
  ];
  for (const [what, method, endpoint] of refusals)
    it(`because Proxmox ${what}, says so and leaves nothing`, async () => {
      stage.lab.bench.dc.fault = (moment, request) => {
        if (moment !== "before" || request.method !== method || !endpoint.test(request.endpoint)) return undefined;
        return { answer: { status: 500, reason: "no, said the storage" } };
      };
      assert.match((await failureOf(stage.order())).message, /^the bake of .* failed: no, said the storage \(500/);
    });

  it("is taken away also when the start of a killed run has its effect between stop and destroy", async () => {
    const { bench } = stage.lab;
    stage.lab.rack.bakeFaults = [{ fault: "fails", stage: "units" }];
    let restarts = 0;
    bench.dc.fault = (moment, { method, endpoint }) => {
      const isDestroy = method === "DELETE" && endpoint === "nodes/{node}/qemu/{vmid}";
      if (moment !== "before" || !isDestroy || (restarts += 1) > 1) return undefined;
      return { hold: () => bench.task("POST", "nodes/pve1/qemu/9100/status/start").then(() => false) };
    };
    await failureOf(stage.order());
    assert.ok(restarts > 1);
  });
});
