/** Plays the stages of a bake or of its sealing as images/bake/run.sh does: progress, log, result. */
import type { BakeFault, Profile } from "../types.ts";
import type { Exit } from "./agent-exec.ts";
import { bakeStages } from "./bake-stages.ts";
import { sealStages } from "./seal-stages.ts";
import { bakeDirectory, entries, StageFailed, type StageRun } from "./stage.ts";

/** A bake of a guest with a clock. */
export interface PlayedRun extends StageRun {
  profile: Profile;
  /** Seconds since the guest's boot. */
  uptime(): number;
  /** @throws when the power is off meanwhile */
  wait(milliseconds: number): Promise<void>;
  /** What is to happen in a stage; undefined: nothing but what the stage does. */
  faultIn(stage: string): StageFault | undefined;
  /** The machine ends: its kernel, or its power. Never resolves. */
  end(how: "dies" | "power-cut"): Promise<never>;
}

export type StageFault = Extract<BakeFault, { stage: string }>;

/** How many times as long as others a stage takes. */
const weights: Readonly<Record<string, number>> = { packages: 4, rke2: 2, images: 4, measure: 2 };

/** @returns the exit of the script; undefined for a kind that it does not know */
export async function playStages(run: PlayedRun, kind: string): Promise<Exit> {
  const { files } = run;
  const at = (suffix: string) => `${bakeDirectory}/${kind}.${suffix}`;
  const effects = kind === "bake" ? bakeStages : kind === "seal" ? sealStages : undefined;
  if (effects === undefined || files.get(`${bakeDirectory}/lists/stages.${kind}`) === undefined)
    return { code: 2, err: `sh: cannot open ${bakeDirectory}/lists/stages.${kind}: No such file\n` };
  files.remove(at("json"));
  files.put(at("progress"), "");
  const append = (suffix: string, text: string) => files.put(at(suffix), files.text(at(suffix)) + text);
  for (const line of entries(run, `stages.${kind}`)) {
    const [stage = "", seconds = ""] = line.split(" ");
    append("progress", `${run.uptime().toFixed(2)} ${stage}\n`);
    await run.wait(run.profile.bakeStage * (weights[stage] ?? 1));
    try {
      await meet(run, stage);
      append("log", block(stage, playStage(run, kind, stage, effects)));
    } catch (error) {
      if (!(error instanceof StageFailed)) throw error;
      const { message: command, code, output } = error;
      append("log", block(stage, [...output, `+ ${command}`]));
      const why = code === 124 ? `not done after ${seconds} s` : `exit code ${code}`;
      files.put(
        at("json"),
        `${JSON.stringify({ status: "failed", stage, command, why, output: output.slice(-30) })}\n`,
      );
      return { code: 1 };
    }
  }
  append("progress", `${run.uptime().toFixed(2)} finished\n`);
  files.put(at("json"), '{"status":"ok"}\n');
  return { code: 0 };
}

const block = (stage: string, output: readonly string[]): string =>
  `== ${stage}\n${output.map((one) => `${one}\n`).join("")}`;

function playStage(run: StageRun, kind: string, stage: string, effects: typeof bakeStages): string[] {
  const script = `${bakeDirectory}/stages/${kind}/${stage}.sh`;
  const effect = Object.hasOwn(effects, stage) ? effects[stage] : undefined;
  if (!run.files.get(script) || effect === undefined)
    throw new StageFailed(`. ${script}`, 2, [`sh: 1: .: cannot open ${script}: No such file`]);
  return effect(run);
}

/** What the lab was told to do in a stage. @throws StageFailed */
async function meet(run: PlayedRun, stage: string): Promise<void> {
  const met = run.faultIn(stage);
  switch (met?.fault) {
    case undefined:
      return;
    case "hang":
      return await new Promise<never>(() => undefined);
    case "timeout":
      throw new StageFailed("sleep infinity", 124, ["this stage never ends"]);
    case "fails":
      throw new StageFailed("false", 1, met.output ?? ["this stage was told to fail"]);
    case "dies":
    case "power-cut":
      return await run.end(met.fault);
  }
}
