import type { Chance } from "./chance.ts";
import type { Stored } from "./objects.ts";
import type { Blow } from "./scenario.ts";
import { maySpare } from "./spare.ts";
import type { World } from "./world.ts";

/** The blows that befall machines in the acts: at a time, or when a node has joined. */
export class Blows {
  /** Until then a blow may still have an effect on a machine. */
  wellAt = 0;
  private readonly world: World;
  private readonly chance: Chance;
  /** Takes back each that was planned. */
  private readonly planned: (() => void)[] = [];
  /** Those that wait for a join. */
  private awaited: Blow[] = [];
  private readonly joined = new Set<string>();

  constructor(world: World, chance: Chance) {
    this.world = world;
    this.chance = chance;
  }

  /** Looks for joins from now on. */
  watch(): void {
    this.world.cluster.objects.onChange(({ collection, object }) => {
      if (collection === "configmaps") this.lookForJoins(object);
    });
  }

  /** Plans the blows of an act. */
  plan(blows: readonly Blow[]): void {
    for (const blow of blows) {
      if (blow.after === "start") this.befalls(blow);
      else this.awaited.push(blow);
    }
  }

  /** Plans something else that happens in an act. */
  planAt(at: number, happens: () => void): void {
    this.planned.push(this.world.time.after(at, happens));
  }

  /** What has not happened does not happen any more. */
  end(): void {
    this.awaited = [];
    for (const takeBack of this.planned) takeBack();
  }

  /** For this time from now on, in milliseconds, an effect may last. */
  lastsFor(ms: number): void {
    this.wellAt = Math.max(this.wellAt, this.world.time.elapsed() + ms);
  }

  /** Finds joined nodes by their record. */
  private lookForJoins({ data }: Stored): void {
    for (const [key, fact] of Object.entries((data ?? {}) as Record<string, string>)) {
      if (!key.startsWith("node.")) continue;
      const { name, phase } = JSON.parse(fact) as { name?: string; phase?: string };
      if (name === undefined || phase !== "joined" || this.joined.has(name)) continue;
      this.joined.add(name);
      const blow = this.awaited.find(({ whom }) => name.startsWith(`demo-${whom}-`));
      if (blow === undefined) continue;
      this.awaited = this.awaited.filter((one) => one !== blow);
      this.befalls(blow, name);
    }
  }

  private befalls(blow: Blow, joined?: string): void {
    this.planAt(blow.at, () => this.strike(blow, joined));
  }

  private strike({ what, whom, after }: Blow, joined: string | undefined): void {
    const { world, chance } = this;
    const all = [...world.dc.vms.values()].filter(
      ({ name, running }) => running && name.startsWith(`demo-${whom}-`) && (after !== "join" || name === joined),
    );
    const others = all.filter(({ name }) => after !== "join of another" || name !== joined);
    if (others.length === 0) return;
    const vm = chance.pick(others);
    const ms = chance.between(5000, 90_000);
    const takesOut = what === "power cut" || what === "partition";
    if (whom === "servers" && takesOut && !maySpare(world, vm)) return;
    world.story.tell("fate", () => `${what}: ${vm.name}`);
    world.coverage.event(what);
    world.watcher.touchedByFate(vm.name);
    this.lastsFor(ms + 60_000);
    if (what === "flap") world.cluster.nodes.flap(vm.name, ms);
    if (what === "hang") vm.guest?.hang(ms);
    if (what === "move") world.dc.migrate(vm);
    if (what === "partition") {
      if (vm.guest?.server) vm.guest.server.partition(ms);
      else world.cluster.nodes.flap(vm.name, ms);
    }
    if (what === "power cut") {
      world.watcher.struck(vm.name);
      // Its pods start elsewhere only after Kubernetes has given them up.
      this.lastsFor(420_000);
      world.dc.powerCut(vm);
    }
  }
}
