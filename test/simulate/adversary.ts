import { poolSpecs } from "../../src/config/config.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import { imageTags } from "../../src/domain/model/formats.ts";
import { generationOf, nodeName } from "../../src/domain/model/generation.ts";
import { Chance } from "./chance.ts";
import type { Vm } from "./data-centre.ts";
import { Engine } from "./engine.ts";
import { calm } from "./faults.ts";
import { Killer } from "./killer.ts";
import { plantPools } from "./plant.ts";
import { configOf, imagesOf, type Scenario, type Wish } from "./scenario.ts";
import type { Result } from "./simulate.ts";
import { World } from "./world.ts";

/**
 * Latest time at which the adversary acts, in milliseconds from the start of a run. A small roll takes about a minute.
 */
const latest = 90_000;

/**
 * Plays a short roll of a small pool while an adversary interferes: it makes VMs that look like ours, reuses VMIDs that
 * were ours, edits our VMs manually, moves VMs between hosts and takes ours out of the token's sight. Runs may refuse
 * and fail. No foreign VM may be stopped, changed or destroyed, and no Node of a running VM may be deleted.
 */
export async function adversary(seed: number, { told = false } = {}): Promise<Result> {
  const chance = new Chance(seed, "adversary");
  const images = imagesOf(new Chance(0, "images"));
  const before: Wish = { image: images[0]?.name ?? "", slots: chance.between(1, 2), rollout: 0 };
  const strategy = { kind: chance.pick(["rolling", "blueGreen"]), maxUnavailable: 1, soakSeconds: 0 };
  const workloads = [{ name: "web", replicas: 2, minAvailable: 1, slowestEnd: 2000, claims: false }];
  const scenario: Scenario = { servers: 1, strategy, before, planted: true, workloads, acts: [] };
  const world = new World({ seed, images, workloads, told });
  await world
    .run(() => new Intrigue(world, chance, scenario).play(images.map(({ name }) => name)))
    .catch((error: unknown) => world.story.wrong(`the simulation itself failed: ${String(error)}`));
  const violations = world.story.violations.filter((line) =>
    /no node of ours|whose kubelet runs|simulation itself/.test(line),
  );
  return { seed, violations, story: world.story.lines, coverage: world.coverage.counted };
}

class Intrigue {
  private readonly world: World;
  private readonly chance: Chance;
  private readonly scenario: Scenario;
  private readonly engine: Engine;

  constructor(world: World, chance: Chance, scenario: Scenario) {
    this.world = world;
    this.chance = chance;
    this.scenario = scenario;
    this.engine = new Engine(world, "demo");
    this.engine.repairs.destroysByHand = false;
  }

  async play(images: readonly string[]): Promise<void> {
    const { world, chance, scenario } = this;
    this.plant(images);
    await world.time.sleep(60_000);
    await this.up(scenario.before);
    for (let run = 0; run < chance.between(1, 3); run += 1) {
      const wish = { ...scenario.before, image: chance.pick(images), slots: chance.between(1, scenario.before.slots) };
      const tricks = chance.between(1, 3);
      for (let k = 0; k < tricks; k += 1) world.time.after(chance.between(0, latest), () => this.trick(wish));
      world.faults.weather = chance.happens(0.3) ? { ...calm, pve: 0.01, kube: 0.01, task: 0.1 } : calm;
      await this.up(wish);
    }
  }

  private async up(wish: Wish): Promise<void> {
    await this.engine.up(configOf(this.scenario, wish), new Killer(this.world, this.chance));
  }

  private plant(images: readonly string[]): void {
    const { world, scenario } = this;
    const catalogue = new Map(images.map((name) => [name, world.image(name)?.rke2 ?? ""]));
    plantPools(world, this.engine, poolSpecs(configOf(scenario, scenario.before), catalogue));
  }

  private trick(wish: Wish): void {
    const { chance } = this;
    const [what, how] = chance.pick<[string, () => void]>([
      ["makes a VM with our tags", () => this.stranger(this.free(), this.anyName(wish), "nodes")],
      [
        "takes a number of ours, out of our sight",
        () => this.stranger(chance.between(1100, 1106), "stranger", "theirs"),
      ],
      ["copies a VM of ours, whole", () => this.copy(this.ours(), this.free())],
      ["restores a backup of a VM of ours beside it", () => this.restore(this.ours(), this.free())],
      [
        "deletes a VM of ours and takes its number",
        () => this.replace(this.ours(), "stranger", chance.pick(["nodes", "theirs"])),
      ],
      ["deletes a VM of ours and puts a copy in its place", () => this.replace(this.ours(), "copy", "nodes")],
      ["edits the tags of a VM of ours", () => this.edit(this.ours())],
      ["moves a template", () => this.moveTemplate()],
      ["takes a VM of ours out of our sight", () => this.hide(this.ours())],
      ["migrates a VM of ours", () => this.migrate(this.ours())],
      ["migrates a VM of somebody else", () => this.migrate(this.theirs())],
    ]);
    this.world.story.tell("adversary", () => what);
    how();
  }

  /**
   * A random VM of the agent pool that was configured. Nobody can tell a copy of a clone that was not from a clone whose
   * plugin was killed, and neither holds anything.
   */
  private ours(): Vm | undefined {
    const all = [...this.world.dc.vms.values()].filter(
      ({ owner, name, tags }) => owner === "ours" && name.includes("-workers-") && !tags.includes(imageTags.image),
    );
    return all.length === 0 ? undefined : this.chance.pick(all);
  }

  private theirs(): Vm | undefined {
    const all = [...this.world.dc.vms.values()].filter(({ owner }) => owner === "stranger");
    return all.length === 0 ? undefined : this.chance.pick(all);
  }

  private free(): number {
    const all = [1100, 1101, 1102, 1103, 1104, 1105, 1106, 1200, 1201, 1202, 1203, 1204, 1205, 1206, 1207, 1208];
    return this.chance.pick(all.filter((vmid) => !this.world.dc.vms.has(vmid)));
  }

  /** A name that a node of ours has or could have. */
  private anyName(wish: Wish): string {
    const [, spec] = poolSpecs(
      configOf(this.scenario, wish),
      new Map([
        [wish.image, "v1.34.4+rke2r1"],
        [this.scenario.before.image, "v1.34.4+rke2r1"],
      ]),
    );
    const generation = spec && this.chance.happens(0.6) ? generationOf(spec.node).id : this.chance.hex(8);
    return nodeName("demo", "workers", this.chance.between(0, wish.slots), generation);
  }

  private stranger(vmid: number, name: string, pool: string): void {
    const { world, chance } = this;
    if (world.dc.vms.has(vmid)) return;
    const [, slot = "0", generation = ""] = /-(\d+)-([0-9a-f]{8})$/.exec(name) ?? [];
    const tags = generation === "" ? [] : tagsOf({ cluster: "demo", pool: "workers", slot: Number(slot), generation });
    const place = { vmid, host: chance.pick(world.dc.hosts), name, pool };
    world.dc.add({
      ...place,
      owner: "stranger",
      uuid: world.dc.uuid(),
      tags,
      running: chance.happens(0.7),
      onBoot: chance.happens(0.5),
    });
  }

  /**
   * Whether steps can tell a replacement of this VM from the original. These cases are excluded, because steps cannot
   * tell: a VM without a claim in the state is destroyed by its VMID alone; a clone whose uuid is not recorded yet, or
   * whose record is retired, may be a copy that took its place while it was off; a VM that was verified a moment ago
   * may be replaced before the request that it was verified for arrives.
   */
  private isKnown({ uuid, name, readAt }: Vm): boolean {
    if (this.world.time.elapsed() - readAt < 2000) return false;
    const facts = this.world.cluster.objects
      .list("configmaps")
      .flatMap(({ data }) => Object.values(data as Record<string, string>));
    const phase = this.engine.state.hasClaimed(name)
      ? /"phase":"(made|joined|handedOver)"/
      : /"phase":"(joined|handedOver)"/;
    return facts.some((fact) => fact.includes(uuid) && phase.test(fact));
  }

  private copy(vm: Vm | undefined, vmid: number): void {
    if (vm === undefined) return;
    const { name, host, pool, tags, running, onBoot } = vm;
    this.world.dc.add({ owner: "stranger", vmid, name, host, pool, tags, running, onBoot, uuid: this.world.dc.uuid() });
  }

  /** Restores a backup without the option `unique`: the copy keeps the SMBIOS uuid and is off. */
  private restore(vm: Vm | undefined, vmid: number): void {
    if (vm === undefined) return;
    const { name, host, pool, tags, onBoot, uuid } = vm;
    this.world.dc.add({ owner: "stranger", vmid, name, host, pool, tags, running: false, onBoot, uuid });
  }

  private replace(vm: Vm | undefined, by: "stranger" | "copy", pool: string): void {
    if (vm === undefined || !this.isKnown(vm)) return;
    this.world.dc.powerCut(vm);
    this.world.dc.vms.delete(vm.vmid);
    if (by === "copy") this.copy(vm, vm.vmid);
    else this.stranger(vm.vmid, "stranger", pool);
  }

  private edit(vm: Vm | undefined): void {
    if (vm === undefined) return;
    vm.tags = this.chance.pick([[], ["evergreen"], vm.tags.map((tag) => tag.replace(/slot-\d+/, "slot-7"))]);
    vm.revision += 1;
  }

  private moveTemplate(): void {
    this.migrate(this.chance.pick([...this.world.dc.vms.values()].filter(({ owner }) => owner === "template")));
  }

  private migrate(vm: Vm | undefined): void {
    if (vm !== undefined) vm.host = vm.host === "pve1" ? "pve2" : "pve1";
  }

  /** Takes a VM out of the token's sight, temporarily or permanently. The VM keeps running, and its Node stays. */
  private hide(vm: Vm | undefined): void {
    if (vm === undefined) return;
    const { pool } = vm;
    vm.pool = "theirs";
    if (this.chance.happens(0.7)) this.world.time.after(this.chance.between(1000, latest), () => (vm.pool = pool));
  }
}
