import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { UserError, messageOf } from "../runtime/errors.ts";
import { ownSettings, readConfig, type Config } from "./config.ts";
import { projectRoot } from "../runtime/project.ts";

/**
 * Reads the configuration of a stack from its file, as `pulumi` would pass it to the program.
 * @param project directory of the file. @default the project's
 */
export async function readStackConfig(stack: string, project = projectRoot): Promise<Config> {
  const file = `Pulumi.${stack}.yaml`;
  const text = await readFile(join(project, file), "utf8").catch((error: unknown) => {
    throw new UserError({
      what: `the configuration of stack ${stack} cannot be read: ${messageOf(error)}`,
      where: file,
      todo: "name the stack with --stack, or copy Pulumi.prod.yaml and fill it in",
    });
  });
  return readConfig(ownSettings(withoutSecrets(parseSettings(text, file)?.config ?? {})));
}

/** Only the engine can decrypt the secrets of a stack. No command of ours needs the key that may have some. */
function withoutSecrets(settings: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).filter(([key]) => key !== "evergreen:registries"));
}

function parseSettings(text: string, file: string): { config?: Record<string, unknown> } | null {
  try {
    return parse(text) as { config?: Record<string, unknown> } | null;
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
