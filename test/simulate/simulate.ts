import { poolSpecs } from "../../src/config/config.ts";
import { Chance } from "./chance.ts";
import type { Counted } from "./coverage.ts";
import { editsOf } from "./edits.ts";
import type { Strike } from "./faults.ts";
import type { Image } from "./guest.ts";
import { localVolumesOf } from "./local-volumes.ts";
import { Play } from "./play.ts";
import { creationOf, imagesOf, scenarioOf, withRegistries, type Scenario } from "./scenario.ts";
import { withSiteOff } from "./site-off.ts";
import { withZones, zonalVolumesOf } from "./zonal-volumes.ts";
import { heavySeverity, usualSeverity, type Severity } from "./severity.ts";
import { Storms } from "./weather/storms.ts";
import { World } from "./world.ts";

export interface Result {
  seed: number;
  violations: string[];
  /** Empty unless `told` is set. */
  story: string[];
  /** Which requests were struck by which faults. */
  coverage: Counted;
}

export interface SimulateOptions {
  told?: boolean;
  /** Makes the world give false answers, or changes requests to what a defective driver would ask for. */
  defect?: (world: World) => void;
  /** Changes the scenario of the seed to what a test is about. */
  shape?: (scenario: Scenario) => Scenario;
  /** A request of this kind fails in this way, the first time that it is made. */
  strike?: Strike;
  /** What kind of story it is. @default the seed decides */
  story?: StoryKind | undefined;
  /** The name of an environment fault: it occurs in every act, and no other does. */
  weather?: string;
  /** Whether more befalls it at once than usually. @default false */
  heavy?: boolean;
}

/**
 * Kinds of stories. `update`: one pool of agents, or the servers, or both are changed. `creation`: there is nothing in
 * the beginning, and a run creates the cluster. `edits`: the configuration of several pools is edited between runs.
 */
export const storyKinds = ["update", "creation", "edits"] as const;
export type StoryKind = (typeof storyKinds)[number];

type Decide = (chance: Chance, decided: Scenario, images: readonly Image[], severity: Severity) => Scenario;
const scenarios: Record<StoryKind, Decide> = {
  update: (_, decided) => decided,
  creation: creationOf,
  edits: editsOf,
};

/** Of ten stories of chance one is a creation, and two are edits. */
const shares: StoryKind[] = [...Array<StoryKind>(7).fill("update"), "creation", "edits", "edits"];

/** Plays the story of a seed: runs with faults and kills, then fault-free runs that must end as configured. */
export async function simulate(
  seed: number,
  { told = false, defect, shape, strike, weather, story, heavy = false }: SimulateOptions = {},
): Promise<Result> {
  const chance = new Chance(seed, "scenario");
  const images = imagesOf(chance);
  const localVolumes = localVolumesOf(new Chance(seed, "local volumes"));
  const allowDestroy = new Chance(seed, "allow destroy").happens(0.2) ? true : undefined;
  const zonalVolumes = zonalVolumesOf(new Chance(seed, "zonal volumes"), localVolumes !== undefined);
  const severity = heavy ? heavySeverity : usualSeverity;
  const decided = { ...scenarioOf(chance, images, severity), localVolumes, zonalVolumes, allowDestroy };
  const drawn = new Chance(seed, "kind of story");
  const begun = scenarios[story ?? drawn.pick(shares)](drawn, decided, images, severity);
  const drawnSo = withZones(
    new Chance(seed, "zones"),
    withSiteOff(new Chance(seed, "site off"), withRegistries(new Chance(seed, "registries"), begun)),
  );
  const scenario = shape?.(drawnSo) ?? drawnSo;
  const world = new World({ seed, images, workloads: scenario.workloads, told });
  defect?.(world);
  world.faults.strike = strike;
  const catalogue = new Map(images.map(({ name, rke2 }) => [name, rke2]));
  const storms = new Storms(world, weather, severity);
  const play = new Play(world, chance, scenario, (config) => poolSpecs(config, catalogue), storms);
  await world
    .run(() => play.all(images.at(-1)?.name ?? ""))
    .catch((error: unknown) => {
      world.story.wrong(
        `the simulation itself failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    });
  return { seed, violations: world.story.violations, story: world.story.lines, coverage: world.coverage.counted };
}
