import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import { UserError, UserErrors, messageOf } from "../runtime/errors.ts";
import { ownSettings, readConfig, type Config } from "./config.ts";
import { projectRoot } from "../runtime/project.ts";

/**
 * Reads the configuration of a stack from its file, as `pulumi` would pass it to the program.
 * @param project directory of the file. @default the project's
 * @param file the file itself. @default that of the stack's name
 */
export async function readStackConfig(
  stack: string,
  project = projectRoot,
  file = `Pulumi.${stack}.yaml`,
): Promise<Config> {
  const text = await readFile(resolve(project, file), "utf8").catch((error: unknown) => {
    throw new UserError({
      what: `the configuration of stack ${stack} cannot be read: ${messageOf(error)}`,
      where: file,
      todo: "name the stack with --stack, or copy Pulumi.prod.yaml and fill it in",
    });
  });
  const settings = parseSettings(text, file);
  try {
    return readConfig(ownSettings(withoutSecrets(settings?.config ?? {})));
  } catch (error) {
    const elsewhere = await findOtherSources(settings, project);
    if (!(error instanceof UserErrors) || elsewhere.length === 0) throw error;
    const alone = {
      what: `the configuration of stack ${stack} is not in its file alone, and this command reads only that`,
      where: elsewhere.join(", "),
      todo: `write the keys that begin with evergreen: into ${file}; credentials may stay where they are`,
    };
    throw new UserErrors([alone, ...error.problems]);
  }
}

/** Where the engine finds settings beside the file of the stack. */
async function findOtherSources(settings: Settings, project: string): Promise<string[]> {
  const own = parse(await readFile(join(project, "Pulumi.yaml"), "utf8")) as Settings;
  const isEncrypted = JSON.stringify(settings?.config ?? {}).includes('"secure":');
  return [
    ...(settings?.environment === undefined ? [] : ["environment (Pulumi ESC)"]),
    ...(own?.config === undefined ? [] : ["config of Pulumi.yaml"]),
    ...(isEncrypted ? ["values encrypted by the engine"] : []),
  ];
}

type Settings = { config?: Record<string, unknown>; environment?: unknown } | null;

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
