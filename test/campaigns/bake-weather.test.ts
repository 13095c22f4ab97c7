import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import type { Request } from "../../lab/proxmox/data-centre.ts";
import { site } from "../../lab/proxmox/site.ts";
import { keyPair } from "../evidence/image.ts";
import { labBake } from "../lab/support/bake-site.ts";
import { baseSeed } from "../simulate/base-seed.ts";
import { BakeStage } from "../support/bake-step.ts";
import { meetsOf, touchesOthers, weathersOf, type Weather } from "../support/bake-weather.ts";

/** Stories of bakes. */
const COUNT = 100;
/** Updates in good weather until the image must be there and proved. */
const CALM = 2;

const THEIRS = 9190;

const isOfBakeOfOthers = (request: Request): boolean =>
  touchesOthers(request, [9100, 9101], /evergreen-bake-9100-\w+\.iso$/);

describe("a bake and its proof in bad weather", function () {
  this.timeout(900_000);
  const seed = baseSeed();
  const key = keyPair();
  let stage: BakeStage;

  before(async () => {
    stage = await BakeStage.start(28_414);
    await stage.lab.download(labBake());
  });
  after(async () => stage.stop());

  /** Everything of others, as text. */
  const others = (): string => {
    const vm = stage.lab.bench.dc.vms.get(THEIRS);
    return JSON.stringify([...(vm?.config ?? [])]);
  };

  /** Begins tasks, guests and storages as a weather has them. @returns what ends it */
  function begin({ task, guest, full }: Weather): () => void {
    const { bench, rack } = stage.lab;
    let count = 0;
    bench.dc.tasks.fault = ({ type, id }) => {
      if (type !== task?.type || id === String(THEIRS)) return undefined;
      count += 1;
      return count === task.nth ? "it has failed" : undefined;
    };
    rack.bakeFaults = guest === undefined ? [] : [guest];
    const storage = full === undefined ? undefined : bench.dc.storages.get(full);
    const before = storage?.baseUsed ?? 0;
    if (storage) storage.baseUsed = storage.total;
    return () => {
      bench.dc.tasks.fault = undefined;
      rack.bakeFaults = [];
      if (storage) storage.baseUsed = before;
    };
  }

  /** How often the clone of the proof was started since the template was made. */
  function boots(): number {
    const ended = [...stage.lab.bench.dc.tasks.all.values()].filter(({ exitstatus }) => exitstatus === "OK");
    const made = ended.findLastIndex(({ type, id }) => type === "qmtemplate" && id === "9100");
    return ended.slice(made).filter(({ type, id }) => type === "qmstart" && id === "9101").length;
  }

  /** How updates ended, each with how often. */
  const ends = new Map<string, number>();

  /** @param plant what somebody does before the end is looked at */
  async function story(own: number, plant: () => unknown = () => undefined): Promise<string[]> {
    const order = stage.proofOrder();
    const wrong: string[] = [];
    await stage.lab.bench.task("POST", "nodes/pve1/qemu", {
      ...{ vmid: THEIRS, name: "theirs", pool: site.templates, scsi0: `${site.storage}:1` },
    });
    const theirs = others();
    const update = async (meets: ReturnType<typeof meetsOf>): Promise<string> =>
      await stage
        .update(order, key.signing, (moment, request) => {
          if (isOfBakeOfOthers(request)) wrong.push(`${request.method} ${request.path} is of others`);
          return meets(moment, request);
        })
        .then(
          (isKilled) => (isKilled ? "killed" : "done"),
          (error: unknown) => String(error),
        );
    const told: string[] = [];
    const isUsed = async () => (await stage.refusals(order, [key.trusted])).length === 0;
    for (const [act, weather] of weathersOf(own).entries()) {
      const calm = begin(weather);
      const ended = await update(meetsOf(weather, `${own} ${act}`));
      calm();
      told.push(`${JSON.stringify(weather)}: ${ended}`);
      const kind = ["killed", "done"].includes(ended) ? ended : "failed";
      ends.set(kind, (ends.get(kind) ?? 0) + 1);
      if ((await isUsed()) && boots() < 2)
        wrong.push("a rollout would use a template whose clone was not booted twice");
    }
    let end = "";
    for (let run = 1; run <= CALM && end !== "done"; run += 1) told.push((end = await update(() => undefined)));
    if (end !== "done") wrong.push("it is not done in good weather");
    await plant();
    wrong.push(...(await stage.refusals(order, [key.trusted])));
    const { vms, cds } = stage.remains();
    if (vms.toSorted().join() !== "lab-image-v1.2.0,theirs") wrong.push(`VMs: ${vms.join()}`);
    if (cds.length > 0) wrong.push(`CDs: ${cds.join()}`);
    if (others() !== theirs) wrong.push("the VM of others was changed");
    if (wrong.length === 0) await roll();
    return wrong.length === 0 ? [] : [`EVERGREEN_SEED=${own}`, ...told, ...wrong.map((line) => `! ${line}`)];
  }

  /** A node of the template: its guest comes up. */
  async function roll(): Promise<void> {
    await stage.lab.clone(9100, 9102);
  }

  it(`harms nobody, and ends with one proved template, of which nodes are made (seed ${seed})`, async () => {
    const failed: string[][] = [];
    for (let own = seed; own < seed + COUNT; own += 1) {
      const found = await story(own);
      if (found.length > 0) failed.push(found);
      await clear();
    }
    assert.deepEqual(failed.flat(), [], failed.flat().join("\n"));
    assert.deepEqual([...ends.keys()].toSorted(), ["done", "failed", "killed"], "each kind of end was met");
  });

  async function clear(): Promise<void> {
    await stage.clear();
    rmSync(stage.proofOrder().records, { recursive: true, force: true });
  }

  const dc = () => stage.lab.bench.dc;
  const plants: [what: string, plant: () => unknown, found: RegExp][] = [
    [
      "VM of others that was changed",
      () => dc().vms.get(THEIRS)?.config.set("cores", 8),
      /the VM of others was changed/,
    ],
    ["clone that is left", () => stage.lab.clone(9100, 9101), /VMs: .*clone-9101/],
    ["CD that is left", () => stage.lab.upload(9100, Buffer.from("CD")), /CDs: images:iso/],
    ["template that was edited", () => dc().vms.get(9100)?.config.set("cores", 8), /was edited after it was recorded/],
  ];
  for (const [what, plant, found] of plants)
    it(`finds a ${what}`, async () => {
      assert.match((await story(seed, plant)).join("\n"), found);
      await clear();
    });

  const requests: [method: string, path: string, params: Record<string, string>, isOfOthers: boolean][] = [
    ["GET", "nodes/pve1/qemu/9190/config", {}, false],
    ["PUT", "nodes/pve1/qemu/9190/config", {}, true],
    ["POST", "nodes/pve1/qemu/9100/clone", { newid: "9101" }, false],
    ["POST", "nodes/pve1/qemu/9100/clone", { newid: "9190" }, true],
    ["POST", "nodes/pve1/qemu", { vmid: "9100" }, false],
    ["POST", "nodes/pve1/qemu", { vmid: "9190" }, true],
    ["DELETE", "nodes/pve1/storage/images/content/images:iso/evergreen-bake-9100-0a.iso", {}, false],
    ["DELETE", "nodes/pve1/storage/images/content/images:iso/evergreen-bake-9190-0a.iso", {}, true],
  ];
  it("tells requests that are of others", () => {
    for (const [method, path, params, isOfOthers] of requests) {
      const request = { method, path, endpoint: path, token: site.bakeToken, params: new Map(Object.entries(params)) };
      assert.equal(isOfBakeOfOthers(request), isOfOthers, `${method} ${path}`);
    }
  });
});
