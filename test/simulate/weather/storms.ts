import { Chance } from "../chance.ts";
import type { World } from "../world.ts";
import type { End, WeatherKind } from "./kind.ts";
import { ofCluster } from "./of-cluster.ts";
import { ofProxmox } from "./of-proxmox.ts";

export const weatherKinds: readonly WeatherKind[] = [...ofCluster, ...ofProxmox];

const isPassing = ({ lasts }: WeatherKind) => typeof lasts !== "string";
const passing = weatherKinds.filter(isPassing);
const standing = weatherKinds.filter((kind) => !isPassing(kind));
/** An act seldom lasts longer than that, in milliseconds. */
const latest = 150_000;
/** Until all is well again after something has ended, in milliseconds. */
const usualAftermath = 60_000;

/** Draws what befalls a world, and when, from a stream of its own. */
export class Storms {
  /** All is well from then on. */
  wellAt = 0;
  private readonly world: World;
  private readonly chance: Chance;
  /** Asked for by name, in every act. */
  private readonly only: WeatherKind | undefined;
  private readonly open = new Set<End>();
  private readonly due: End[] = [];

  constructor(world: World, only?: string) {
    this.world = world;
    this.chance = new Chance(world.seed, "storms");
    this.only = weatherKinds.find(({ name }) => name === only);
  }

  /** What is there before the first act. */
  stand(): void {
    const { chance } = this;
    const kinds = this.only ? [this.only].filter((kind) => !isPassing(kind)) : this.some(standing, [0, 0, 0, 1, 1, 2]);
    for (const kind of kinds) this.befalls(kind, chance);
  }

  /** What passes over an act that begins now. */
  pass(): void {
    const { chance, world } = this;
    const kinds = this.only ? [this.only].filter(isPassing) : this.some(passing, [0, 0, 1, 1, 2]);
    for (const kind of kinds)
      this.due.push(world.time.after(chance.between(0, latest), () => this.befalls(kind, chance)));
  }

  /** The acts are over: nothing more comes, and what is there ends. */
  end(): void {
    for (const takeBack of this.due) takeBack();
    for (const end of [...this.open]) end();
  }

  private some(kinds: readonly WeatherKind[], counts: readonly number[]): WeatherKind[] {
    const { chance } = this;
    return kinds.length === 0 ? [] : Array.from({ length: chance.pick(counts) }, () => chance.pick(kinds));
  }

  private befalls({ name, lasts, aftermath = usualAftermath, befall }: WeatherKind, chance: Chance): void {
    const { world } = this;
    const stop = befall(world, chance);
    if (stop === undefined) return;
    world.story.tell("weather", () => name);
    world.coverage.event(name);
    const end = () => {
      if (!this.open.delete(end)) return;
      world.story.tell("weather", () => `${name} is over`);
      stop();
      this.wellAt = Math.max(this.wellAt, world.time.elapsed() + aftermath);
    };
    if (lasts === "for good") return;
    this.open.add(end);
    if (lasts !== "all acts") world.time.after(chance.between(...lasts), end);
  }
}
