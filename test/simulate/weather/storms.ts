import { Chance } from "../chance.ts";
import type { World } from "../world.ts";
import { usualSeverity, type Severity } from "../severity.ts";
import type { End, WeatherKind } from "./kind.ts";
import { byHand } from "./by-hand.ts";
import { ofCluster } from "./of-cluster.ts";
import { ofCreation } from "./of-creation.ts";
import { ofProxmox } from "./of-proxmox.ts";

const usualKinds = [...ofCluster, ...ofProxmox, ...byHand];
export const weatherKinds: readonly WeatherKind[] = [...usualKinds, ...ofCreation];

const isPassing = ({ lasts }: WeatherKind) => typeof lasts !== "string";
const usual = usualKinds.filter(isPassing);
const standing = weatherKinds.filter((kind) => !isPassing(kind));
/** An act rarely lasts longer than this, in milliseconds. */
const latest = 150_000;
/** Time until everything is healthy again after a fault has ended, in milliseconds. */
const usualAftermath = 60_000;

/** Draws the environment faults of a world and their times, from a random stream of its own. */
export class Storms {
  /** Everything is healthy from then on. */
  wellAt = 0;
  private readonly world: World;
  private readonly chance: Chance;
  private readonly counts: Severity["storms"];
  /** The fault requested by name, for every act. */
  private readonly only: WeatherKind | undefined;
  private readonly open = new Set<End>();
  private readonly due: End[] = [];

  constructor(world: World, only?: string, { storms }: Severity = usualSeverity) {
    this.world = world;
    this.counts = storms;
    this.chance = new Chance(world.seed, "storms");
    this.only = weatherKinds.find(({ name }) => name === only);
  }

  /** Begins the faults that exist before the first act. */
  stand(): void {
    const { chance } = this;
    const kinds = this.only
      ? [this.only].filter((kind) => !isPassing(kind))
      : this.some(standing, this.counts.standing);
    for (const kind of kinds) this.befalls(kind, chance);
  }

  /** Schedules the faults of an act that begins now. @param isCreation whether there may be no cluster yet */
  pass(isCreation = false): void {
    const { chance, world } = this;
    const drawn = isCreation ? this.some(ofCreation, [0, 1, 1, 2, 3]) : this.some(usual, this.counts.passing);
    const only = this.only && (isCreation || !ofCreation.includes(this.only)) ? [this.only].filter(isPassing) : [];
    const kinds = this.only ? only : drawn;
    // A run that goes on with a creation asks the first server in its first second.
    const moment = () =>
      isCreation ? chance.pick([chance.between(0, 1000), chance.between(0, 90_000)]) : chance.between(0, latest);
    for (const kind of kinds) this.due.push(world.time.after(moment(), () => this.befalls(kind, chance)));
  }

  /** The acts are over: no more faults begin, and the present faults end. */
  end(): void {
    for (const takeBack of this.due) takeBack();
    for (const end of [...this.open]) end();
  }

  private some(kinds: readonly WeatherKind[], counts: readonly number[]): WeatherKind[] {
    const { chance } = this;
    return kinds.length === 0 ? [] : Array.from({ length: chance.pick(counts) }, () => chance.pick(kinds));
  }

  private befalls(
    { name, lasts, aftermath = usualAftermath, countsItself, befall }: WeatherKind,
    chance: Chance,
  ): void {
    const { world } = this;
    const stop = befall(world, chance);
    if (stop === undefined) return;
    world.story.tell("weather", () => name);
    if (countsItself !== true) world.coverage.event(name);
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
