import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import { projectRoot } from "../runtime/project.ts";

/**
 * Where the engine keeps its state. `service`: Pulumi Cloud or a compatible service, whose locks expire and cannot be
 * read; `objects`: a bucket, which is read only through the engine.
 */
export type Backend = { kind: "file"; directory: string } | { kind: "objects" | "service" };

/** The backend that the engine would use: it reads the same settings in the same order. */
export function backendOf(environment: NodeJS.ProcessEnv, project = projectRoot): Backend {
  const urls = [environment.PULUMI_BACKEND_URL, ofProject(project), loggedIn(environment)];
  const url = urls.find((one) => one !== undefined && one !== "") ?? "https://";
  if (url.startsWith("file://")) return { kind: "file", directory: directoryOf(url, project) };
  return { kind: /^https?:/.test(url) ? "service" : "objects" };
}

function ofProject(project: string): string | undefined {
  const settings = parse(readFileSync(join(project, "Pulumi.yaml"), "utf8")) as { backend?: { url?: string } } | null;
  return settings?.backend?.url;
}

/** The backend's URL that `pulumi login` has stored. */
function loggedIn({ PULUMI_HOME, PULUMI_CREDENTIALS_PATH }: NodeJS.ProcessEnv): string | undefined {
  const directory = PULUMI_CREDENTIALS_PATH ?? PULUMI_HOME ?? join(homedir(), ".pulumi");
  const file = join(directory, "credentials.json");
  if (!existsSync(file)) return undefined;
  return (JSON.parse(readFileSync(file, "utf8")) as { current?: string }).current;
}

/** Supports `file:///somewhere`, `file://~`, `file://~/somewhere`, and paths relative to the engine's directory. */
function directoryOf(url: string, project: string): string {
  const path = decodeURIComponent(url.slice("file://".length).split("?")[0] ?? "");
  return path.startsWith("~") ? join(homedir(), path.slice(1)) : resolve(project, path);
}
