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
 * Reads the configuration of a stack as `pulumi` would pass it to the program, without `evergreen:registries`: from its
 * file, and where other sources are merged into that, from the engine.
 * @throws UserErrors that say what is wrong with it; UserError when it cannot be read
 */
export async function readStackConfig(stack: string, reading: Reading): Promise<Config> {
  const settings = Object.entries(await readAll(stack, reading)).filter(([key]) => key !== REGISTRIES);
  return parseAll(stack, Object.fromEntries(settings));
}

/**
 * The same with `evergreen:registries`, which the engine decrypts where it is a secret. Its passwords are hidden from all
 * that is printed.
 */
export async function readWithRegistries(stack: string, reading: Reading): Promise<Config> {
  const settings = await readAll(stack, reading);
  if (!isSecret(settings[REGISTRIES])) return parseAll(stack, settings);
  const { [REGISTRIES]: registries } = await askEngine(stack, reading, ["--show-secrets"]).catch((error: unknown) => {
    throw new UserError(
      {
        what: `the engine does not decrypt evergreen:registries: ${messageOf(error)}`,
        where: `stack ${stack}`,
        todo: "give it what an update has: the passphrase, or access to the key",
      },
      { cause: error },
    );
  });
  return parseAll(stack, { ...settings, [REGISTRIES]: registries });
}

/** The only key that may be secret. */
const REGISTRIES = "evergreen:registries";

/** Whether a part of a value is encrypted. */
const isSecret = (value: unknown): boolean => JSON.stringify([value]).includes('"secure":');

/** All settings, of which those that are secret are encrypted. */
async function readAll(stack: string, reading: Reading): Promise<Record<string, unknown>> {
  const { project = projectRoot } = reading;
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
  if (others.length === 0) return settings?.config ?? {};
  // What the file has may not be what counts.
  return await askEngine(stack, reading, []).catch((error: unknown) => {
    throw new UserError(
      {
        what: `the configuration of stack ${stack} is not in its file alone, and the engine does not say the rest: ${messageOf(error)}`,
        where: others.join(", "),
        todo: `see what npx pulumi config --stack ${stack} says, which an update needs too; or have all keys that begin with evergreen: in ${file}, and no other source`,
      },
      { cause: error },
    );
  });
}

function parseAll(stack: string, settings: Readonly<Record<string, unknown>>): Config {
  try {
    return readConfig(ownSettings(settings));
  } catch (error) {
    if (!(error instanceof UserErrors) || !isSecret(settings)) throw error;
    const alone = {
      what: `the configuration of stack ${stack} has secrets beside evergreen:registries, and this command decrypts none`,
      where: Object.keys(settings)
        .filter((key) => isSecret(settings[key]))
        .join(", "),
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

/** @throws Error in the engine's words */
async function askEngine(
  stack: string,
  { environment, project = projectRoot, file }: Reading,
  more: readonly string[],
): Promise<Record<string, unknown>> {
  const path = file === undefined ? [] : ["--config-file", resolve(project, file)];
  const args = ["config", "--json", "--stack", stack, ...path, ...more, "--non-interactive"];
  const options = { cwd: project, env: environment, timeout: patienceMs };
  const told = await promisify(execFile)("pulumi", args, options).then(
    ({ stdout }) => JSON.parse(stdout) as Record<string, Told>,
    (error: unknown) => {
      const said = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1) ?? "";
      throw new Error(said === "" ? messageOf(error) : said);
    },
  );
  return Object.fromEntries(
    Object.entries(told).map(([key, { value, objectValue = value }]) => [key, objectValue ?? { secure: "" }]),
  );
}

/** Longest wait for the engine, in milliseconds: an environment may log in elsewhere before it answers. */
const patienceMs = 60_000;

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
