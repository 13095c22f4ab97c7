/** The stages of a bake and of its sealing, and what a guest says of them (images/bake/run.sh). */

/** A stage: a script of images/bake/stages/, and the seconds after which it has failed. */
export interface Stage {
  name: string;
  seconds: number;
}

/** `bake` makes the image, in a guest that has booted from the base; `seal` takes out of it what no clone may have. */
export type Kind = "bake" | "seal";

/** No stage has less than ten minutes: a guest on a busy host is slow, and one that hangs does so for ever. */
export const STAGES: Readonly<Record<Kind, readonly Stage[]>> = {
  bake: [
    { name: "quiet", seconds: 600 },
    { name: "archive", seconds: 600 },
    { name: "packages", seconds: 3600 },
    { name: "files", seconds: 600 },
    { name: "system", seconds: 900 },
    { name: "rke2", seconds: 3600 },
    { name: "hardening", seconds: 600 },
    { name: "images", seconds: 3600 },
    { name: "units", seconds: 600 },
    { name: "scripts", seconds: 3600 },
    { name: "describe", seconds: 600 },
  ],
  seal: [
    { name: "sources", seconds: 600 },
    { name: "identity", seconds: 600 },
    { name: "cloud-init", seconds: 600 },
    { name: "traces", seconds: 600 },
    { name: "measure", seconds: 1800 },
    { name: "trim", seconds: 600 },
  ],
};

/** Where the bake lies in the guest: in memory, so that nothing of it is ever on the image's disk. */
export const BAKE_DIRECTORY = "/run/evergreen-bake";

/** Files of the guest that tell how far it is; `result` is written last, when all is over. */
export function filesOf(kind: Kind): { progress: string; log: string; result: string } {
  const path = (suffix: string) => `${BAKE_DIRECTORY}/${kind}.${suffix}`;
  return { progress: path("progress"), log: path("log"), result: path("json") };
}

/** Runs the stages in the guest: program and arguments for the guest agent. A bake is started by cloud-init. */
export function commandOf(kind: Kind): readonly string[] {
  return ["/bin/sh", `${BAKE_DIRECTORY}/run.sh`, kind];
}

/** A stage that has begun. */
export interface Step {
  /** Seconds since the guest's boot. */
  at: number;
  /** Name of the stage; `finished` after the last one. */
  stage: string;
}

/** Reads the progress, as far as it was written: a line that has no end yet is left out. */
export function progressOf(text: string): Step[] {
  return text
    .split("\n")
    .slice(0, -1)
    .flatMap((line) => {
      const [, at, stage] = /^(\d+(?:\.\d+)?) (\S+)$/.exec(line) ?? [];
      return at === undefined || stage === undefined ? [] : [{ at: Number(at), stage }];
    });
}

/** How the stages ended. */
export type StageResult =
  | { status: "ok" }
  | {
      status: "failed";
      stage: string;
      /** The command that failed, as the shell traced it. */
      command: string;
      /** `exit code 100`, or `not done after 600 s`. */
      why: string;
      /** The last lines of the stage's output. */
      output: string[];
    };

/** Reads the result. @throws Error when it is not one: then nothing is known of the bake */
export function resultOf(text: string): StageResult {
  const given = JSON.parse(text) as Partial<Record<string, unknown>> | null;
  const { status, stage, command, why, output } = given ?? {};
  if (status === "ok") return { status };
  const isText = (value: unknown): value is string => typeof value === "string";
  if (status === "failed" && isText(stage) && isText(command) && isText(why) && Array.isArray(output))
    return { status, stage, command, why, output: output.filter(isText) };
  throw new Error(`not the result of a bake: ${text.slice(0, 200)}`);
}
