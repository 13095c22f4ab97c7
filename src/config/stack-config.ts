import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { parse } from "yaml";
import { UserError, UserErrors, messageOf } from "../runtime/errors.ts";
import { ownSettings, readConfig, type Config } from "./config.ts";
import { projectRoot } from "../runtime/project.ts";
import { hasDefaults, findStackFile } from "./stack-file.ts";

/** How the configuration of a stack is read. */
export interface Reading {
  /** Directory of `Pulumi.yaml`. @default the project's */
  project?: string;
  /** The stack's file. @default that of the stack's name */
  file?: string;
  /** That of the engine, which is asked when the file does not have all: it finds `pulumi` on PATH. */
  environment: NodeJS.ProcessEnv;
}

/**
 * Reads the configuration of a stack as `pulumi` would pass it to the program: from its file, and where other sources are
 * merged into that, from the engine.
 * @throws UserErrors that say what is wrong with it; UserError when it cannot be read
 */
export async function readStackConfig(stack: string, reading: Reading): Promise<Config> {
  const project = reading.project ?? projectRoot;
  const file = reading.file ?? (await findStackFile(stack, project));
  const text = await readFile(resolve(project, file), "utf8").catch((error: unknown) => {
    throw new UserError({
      what: `the configuration of stack ${stack} cannot be read: ${messageOf(error)}`,
      where: file,
      todo: "name the stack with --stack, or copy Pulumi.prod.yaml and fill it in",
    });
  });
  const settings = parseSettings(text, file);
  const others = [
    ...(settings?.environment === undefined ? [] : ["environment (Pulumi ESC)"]),
    ...((await hasDefaults(project)) ? ["config of Pulumi.yaml"] : []),
  ];
  const own = settings?.config ?? {};
  const all = others.length === 0 ? own : await askEngine(stack, { ...reading, project, file }, others);
  try {
    return readConfig(ownSettings(withoutSecrets(all)));
  } catch (error) {
    const isEncrypted = JSON.stringify(all).includes('"secure":');
    if (!(error instanceof UserErrors) || !isEncrypted) throw error;
    const alone = {
      what: `the configuration of stack ${stack} has secrets beside evergreen:registries, and this command decrypts none`,
      where: file,
      todo: "set the other keys that begin with evergreen: in clear; credentials may stay secret",
    };
    throw new UserErrors([alone, ...error.problems]);
  }
}

type Settings = { config?: Record<string, unknown>; environment?: unknown } | null;

/** A value as `pulumi config --json` prints it: one that is secret has no text. */
interface Told {
  value?: string;
  objectValue?: unknown;
}

/** @throws UserError when the engine does not say it: what the file has may not be what counts */
async function askEngine(
  stack: string,
  { environment, project, file }: Reading & { project: string; file: string },
  others: readonly string[],
): Promise<Record<string, unknown>> {
  const args = ["config", "--json", "--stack", stack, "--config-file", resolve(project, file), "--non-interactive"];
  const options = { cwd: project, env: environment, timeout: patienceMs };
  const told = await promisify(execFile)("pulumi", args, options).then(
    ({ stdout }) => JSON.parse(stdout) as Record<string, Told>,
    (error: unknown) => {
      const said = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1) ?? "";
      throw new UserError(
        {
          what: `the configuration of stack ${stack} is not in its file alone, and the engine does not say the rest: ${said === "" ? messageOf(error) : said}`,
          where: others.join(", "),
          todo: `see what npx pulumi config --stack ${stack} says, which an update needs too; or have all keys that begin with evergreen: in ${file}, and no other source`,
        },
        { cause: error },
      );
    },
  );
  return Object.fromEntries(
    Object.entries(told).map(([key, { value, objectValue = value }]) => [key, objectValue ?? { secure: "" }]),
  );
}

/** Longest wait for the engine, in milliseconds: an environment may log in elsewhere before it answers. */
const patienceMs = 60_000;

/** Only the engine can decrypt the secrets of a stack. No command of ours needs the key that may have some. */
function withoutSecrets(settings: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).filter(([key]) => key !== "evergreen:registries"));
}

function parseSettings(text: string, file: string): Settings {
  try {
    // As the engine does: a pool may take over the keys of another one (`<<: *workers`).
    return parse(text, { merge: true }) as Settings;
  } catch (error) {
    throw new UserError(
      {
        what: `the configuration of a stack is no YAML: ${messageOf(error).trim()}`,
        where: file,
        todo: "correct that line (git diff shows what a merge has left)",
      },
      { cause: error },
    );
  }
}
