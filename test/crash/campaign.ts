/** Runs crash trials one after the other and reports their outcomes. */
import { enumerate, sample, wordsOf, type Point } from "./points.ts";
import { Stage, type Outcome, type Shape } from "./trial.ts";

export interface CampaignOptions {
  prefix: string;
  shape: Shape;
  seed: number;
  /** Number of points to sample, a list of points, or every point. */
  points: number | readonly Point[] | "all";
  /** Whether a further run must find nothing to do after every point, or only after the last one. */
  idle: "each" | "last";
  /** Receives progress, one line per call. */
  tell: (line: string) => void;
}

/** The JSON that `--report` writes. */
export interface Report {
  /** Boundaries of the undisturbed run. */
  points: number;
  /** Points at which a run was killed. */
  tried: number;
  /** Points after which the next run repaired everything. */
  converged: number;
  violations: { point: string; request: string; violations: string[] }[];
  /** Seed of the sample. */
  seed: number;
}

/** Runs a trial for each point. After a point that does not converge, the next point starts in a new lab. */
export async function campaign(options: CampaignOptions): Promise<{ report: Report; outcomes: Outcome[] }> {
  const { prefix, shape, tell } = options;
  const outcomes: Outcome[] = [];
  let stage = await Stage.create(prefix, shape);
  try {
    const { requests } = stage;
    const what = shape.bakes ? "a bake with its proof" : "a roll";
    tell(`${what} has ${requests.changes} requests that change something and ${requests.reads} that do not`);
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

/** An outcome as a table row. */
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

/** All details of a point that did not converge. */
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
