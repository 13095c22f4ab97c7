/** Trials one after the other, and what came of them. */
import { enumerate, sample, wordsOf, type Point } from "./points.ts";
import { Stage, type Outcome, type Shape } from "./trial.ts";

export interface CampaignOptions {
  prefix: string;
  shape: Shape;
  seed: number;
  /** Number of points, these points, or all there are. */
  points: number | readonly Point[] | "all";
  /** Whether a further run must find nothing to do after every point, or after the last one. */
  idle: "each" | "last";
  /** Hears of what goes on, a line each. */
  tell: (line: string) => void;
}

/** What `--report` writes. */
export interface Report {
  /** Boundaries of the run that nobody disturbed. */
  points: number;
  /** Points at which a run was killed. */
  tried: number;
  /** Points after which the next run mended all. */
  converged: number;
  violations: { point: string; request: string; violations: string[] }[];
  /** What the sample was drawn with. */
  seed: number;
}

/** A point that does not converge costs the lab: the next one begins on a new one. */
export async function campaign(options: CampaignOptions): Promise<{ report: Report; outcomes: Outcome[] }> {
  const { prefix, shape, tell } = options;
  const outcomes: Outcome[] = [];
  let stage = await Stage.create(prefix, shape);
  try {
    const { requests } = stage;
    tell(`a roll has ${requests.changes} requests that change something and ${requests.reads} that do not`);
    const points = chosen(options, stage);
    for (const [index, point] of points.entries()) {
      const idle = options.idle === "each" || index + 1 === points.length;
      const outcome = await stage.trial(point, index % 3 === 0 ? "at once" : "later", idle);
      outcomes.push(outcome);
      tell(`${index + 1}/${points.length}  ${rowOf(outcome).join("  ")}`);
      if (outcome.violations.length === 0) continue;
      tell(storyOf(outcome));
      if (index + 1 === points.length) break;
      await stage.close();
      stage = await Stage.create(prefix, shape);
    }
    return { report: reportOf(enumerate(requests).length, outcomes, options.seed), outcomes };
  } finally {
    await stage.close();
  }
}

function chosen({ points, seed }: CampaignOptions, { requests }: Stage): readonly Point[] {
  if (points === "all") return enumerate(requests);
  return typeof points === "number" ? sample(requests, points, seed) : points;
}

function reportOf(points: number, outcomes: readonly Outcome[], seed: number): Report {
  const bad = outcomes.filter(({ violations }) => violations.length > 0);
  const met = outcomes.filter(({ request }) => request !== undefined);
  return {
    points,
    tried: met.length,
    converged: met.filter(({ violations }) => violations.length === 0).length,
    violations: bad.map(({ point, request = "", violations }) => ({ point: wordsOf(point), request, violations })),
    seed,
  };
}

export const header = ["point", "killed after", "next run", "came", "result", "request"];

/** An outcome as a row. */
export function rowOf({ point, next, request, seconds: [killed, again], violations }: Outcome): string[] {
  const result = violations.length > 0 ? "VIOLATED" : request === undefined ? "not met" : "converged";
  return [
    wordsOf(point),
    `${killed.toFixed(1)} s`,
    `${again.toFixed(1)} s`,
    next,
    result,
    request ?? "the run ended before it",
  ];
}

/** All that is known of a point that did not converge. */
function storyOf({ violations, said: [killed, again] }: Outcome): string {
  return [
    ...violations.map((line) => `  ! ${line}`),
    "--- the run that was killed",
    killed.trim(),
    "--- the run after it",
    again.trim(),
    "---",
  ].join("\n");
}
