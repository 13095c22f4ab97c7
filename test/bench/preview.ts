/**
 * `npm run bench:preview [-- --slots N,N] [--report FILE]`: previews a stack of so many slots of which nothing exists, and holds
 * the time against a program that declares as many resources and does nothing else.
 */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { numbersOf, round } from "./report.ts";
import { Stage } from "./stage.ts";

const { values } = parseArgs({
  options: { slots: { type: "string", default: "10,100,500,1000" }, report: { type: "string" } },
});

interface PreviewReport {
  slots: number;
  resources: number;
  seconds: number;
  /** Less a program that declares nothing. */
  secondsOverEmpty: number;
  /** Less a program that declares as many resources. */
  secondsOverPlain: number;
  cpuSeconds: number;
  peakMemoryBytes: number;
}

const reports = await Stage.with("fast", async (stage) => {
  const strategy = { kind: "rolling", surge: 3, maxUnavailable: 2 };
  const empty = await stage.plainPreview(0);
  const found: PreviewReport[] = [];
  for (const slots of numbersOf("--slots", values.slots)) {
    await stage.configureAgents(slots, strategy);
    const ours = await stage.preview();
    const resources = Number(/\+ (\d+) to create/.exec(ours.output)?.[1] ?? Number.NaN);
    const plain = await stage.plainPreview(resources);
    const report: PreviewReport = {
      slots,
      resources,
      seconds: round(ours.seconds, 2),
      secondsOverEmpty: round(ours.seconds - empty.seconds, 2),
      secondsOverPlain: round(ours.seconds - plain.seconds, 2),
      cpuSeconds: round(ours.cpu.total, 2),
      peakMemoryBytes: ours.peakMemoryBytes,
    };
    found.push(report);
    console.log(lineOf(report, found[0] ?? report));
  }
  return found;
});
if (values.report !== undefined) await writeFile(resolve(values.report), `${JSON.stringify(reports, undefined, 2)}\n`);

function lineOf(report: PreviewReport, least: PreviewReport): string {
  const growth = (report.secondsOverEmpty / least.secondsOverEmpty).toFixed(1);
  return [
    `  ${String(report.slots).padStart(4)} slots, ${report.resources} resources: ${report.seconds} s`,
    `${report.secondsOverEmpty} s over an empty program (x ${growth} for x ${(report.slots / least.slots).toFixed(0)} slots)`,
    `${report.secondsOverPlain} s over as many plain resources`,
    `CPU ${report.cpuSeconds} s`,
    `peak ${(report.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB`,
  ].join("   ");
}
