import { table } from "../table.ts";

/** The measurements of one pool's rollout. */
export interface Rollout {
  pool: string;
  /** Generations before and after. */
  from: string;
  to: string;
  /** Wall time of the command that rolled the pool. */
  seconds: number;
  /** Shortest possible time for any tool, from the lab's profile. */
  lowerBoundSeconds: number;
  /** Lower bound divided by measured time. */
  efficiency: number;
  /** Pods that were evicted through the eviction API. */
  evicted: number;
  pdbViolations: number;
}

/** The content of the file that `--report` writes. */
export interface Report {
  rollouts: Rollout[];
  probe: { requests: number; failed: number };
  /** VMs of the cluster at the end. */
  vmsLeft: number;
  templatesLeft: number;
}

/** Image and RKE2 version by generation, which only the table shows. */
export type Contents = ReadonlyMap<string, { image: string; rke2: string }>;

const seconds = (value: number) => `${value.toFixed(1)} s`;

/** The report as text. */
export function reportText(report: Report, contents: Contents): string {
  const content = (generation: string) => {
    const { image = "?", rke2 = "?" } = contents.get(generation) ?? {};
    return [image, rke2];
  };
  const rows = report.rollouts.map((rollout) => [
    rollout.pool,
    `${rollout.from} -> ${rollout.to}`,
    ...content(rollout.to),
    seconds(rollout.seconds),
    seconds(rollout.lowerBoundSeconds),
    `${(rollout.efficiency * 100).toFixed(0)} %`,
    String(rollout.evicted),
    String(rollout.pdbViolations),
  ]);
  const head = [
    "pool",
    "generation",
    "image",
    "RKE2",
    "took",
    "lower bound",
    "efficiency",
    "evicted",
    "PDB violations",
  ];
  const { probe, vmsLeft, templatesLeft } = report;
  return [
    table(head, rows),
    "",
    `prober: ${probe.requests} requests, ${probe.failed} failed; at the end: ${vmsLeft} VMs, ${templatesLeft} templates`,
  ].join("\n");
}

/** Makes a rollout from its measurements; numbers are rounded, because more digits would not be exact. */
export function rolloutOf({
  pool,
  from,
  to,
  evicted,
  pdbViolations,
  ...measured
}: Omit<Rollout, "efficiency">): Rollout {
  const round = (value: number, digits: number) => Number(value.toFixed(digits));
  const { seconds, lowerBoundSeconds } = measured;
  return {
    pool,
    from,
    to,
    seconds: round(seconds, 2),
    lowerBoundSeconds: round(lowerBoundSeconds, 2),
    efficiency: seconds > 0 ? round(lowerBoundSeconds / seconds, 3) : 0,
    evicted,
    pdbViolations,
  };
}
