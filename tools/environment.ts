import { existsSync, readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { SILENT } from "./cli.ts";
import { node24, projectRoot } from "./paths.ts";

/** Where the lab of the stack `dev` writes what a client of it needs. */
export const labEnvironmentFile = join(projectRoot, ".evergreen", "lab", "dev", "env.json");

/** The stack of the lab. Every other one is a real site. */
export const labStack = "dev";

/** How a client trusts the site's certificate authority: Node, Go. */
const TRUST = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/**
 * What the lab of the stack `dev` adds to an environment; empty when it is not up. What the user has set stays. A user with
 * a site of their own gets nothing: half of a data centre, or its state beside the lab's, would be neither.
 */
export function labEnvironment(user: NodeJS.ProcessEnv, file = labEnvironmentFile): Record<string, string> {
  if (!existsSync(file)) return {};
  if (Object.entries(user).some(([name, value]) => name.startsWith("PROXMOX_VE_") && value)) return {};
  const lab = Object.entries(JSON.parse(readFileSync(file, "utf8")) as Record<string, string>);
  return Object.fromEntries(
    lab.filter(([name]) => TRUST.includes(name) || name.startsWith("PROXMOX_VE_") || !user[name]),
  );
}

/** What the environment of the engine is made of. */
export interface EngineSettings {
  /** PULUMI_HOME. */
  home: string;
  /** Directories that come before the user's on PATH, after our Node. */
  path: readonly string[];
  /** Wins over all others. */
  extra: Readonly<Record<string, string>>;
  stack: string;
  /** Default: the environment of this process. */
  user?: NodeJS.ProcessEnv;
}

/** The environment of the engine's processes. */
export function engineEnvironment(settings: EngineSettings): Record<string, string> {
  const { home, extra, stack, user = process.env } = settings;
  const path = [join(projectRoot, "node_modules", ".bin"), ...settings.path, user.PATH ?? ""];
  return {
    ...Object.fromEntries(Object.entries(user).filter((entry): entry is [string, string] => entry[1] !== undefined)),
    ...(stack === labStack ? labEnvironment(user) : {}),
    ...SILENT,
    PULUMI_HOME: home,
    PATH: [...new Set(path.join(delimiter).split(delimiter))].filter((entry) => entry !== "").join(delimiter),
    EVERGREEN_NODE: node24,
    // Program, plugin and steps load the same modules in every run: compiled once, they start a fifth sooner.
    NODE_COMPILE_CACHE: join(dirname(home), "node"),
    ...extra,
  };
}
