/** Where the engine looks for the configuration of a stack: the file of its name, and what is merged into it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { projectRoot } from "../runtime/project.ts";

/** What `Pulumi.yaml` says of configuration. */
interface Project {
  stackConfigDir?: string;
  /** Defaults of all stacks; a text is the older name of `stackConfigDir`. */
  config?: Record<string, unknown> | string;
}

/**
 * The file of a stack, relative to the project: beside `Pulumi.yaml`, or in its `stackConfigDir`.
 * @param project directory of `Pulumi.yaml`. @default the project's
 */
export async function findStackFile(stack: string, project = projectRoot): Promise<string> {
  const { config, stackConfigDir = typeof config === "string" ? config : "" } = await readProject(project);
  return join(stackConfigDir, `Pulumi.${stack}.yaml`);
}

/** Whether `Pulumi.yaml` has configuration that the engine gives to every stack. */
export async function hasDefaults(project: string): Promise<boolean> {
  return typeof (await readProject(project)).config === "object";
}

async function readProject(project: string): Promise<Project> {
  return (parse(await readFile(join(project, "Pulumi.yaml"), "utf8")) as Project | null) ?? {};
}
