import { existsSync, readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { SILENT } from "./cli.ts";
import { projectRoot } from "../src/runtime/project.ts";
import { node24 } from "./paths.ts";

/** The file in which the lab of the stack `dev` writes the environment of its clients. */
export const labEnvironmentFile = join(projectRoot, ".evergreen", "lab", "dev", "env.json");

/** The stack of the lab. Every other stack is a real site. */
export const labStack = "dev";

/** Variables by which Node and Go programs trust the site's certificate authority. */
const TRUST = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/**
 * The variables that the lab of the stack `dev` adds to an environment; empty when the lab is not up. Variables that
 * the user has set stay, except those of the certificate authority. A user who has set any PROXMOX_VE_ variable gets
 * nothing: a mixture of another site and the lab would work with neither.
 */
export function labEnvironment(user: NodeJS.ProcessEnv, file = labEnvironmentFile): Record<string, string> {
  if (!existsSync(file)) return {};
  if (Object.entries(user).some(([name, value]) => name.startsWith("PROXMOX_VE_") && value)) return {};
  const lab = Object.entries(JSON.parse(readFileSync(file, "utf8")) as Record<string, string>);
  return Object.fromEntries(
    lab.filter(([name]) => TRUST.includes(name) || name.startsWith("PROXMOX_VE_") || !user[name]),
  );
}

/** The settings that the environment of the engine is made from. */
export interface EngineSettings {
  /** PULUMI_HOME. */
  home: string;
  /** Directories for PATH, after the project's Node and before the user's directories. */
  path: readonly string[];
  /** Variables that override all others. */
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
    // The program talks to its engine by gRPC, which would go through the proxy of https_proxy to this very machine.
    no_grpc_proxy: "127.0.0.1,localhost",
    // Program, plugin and steps load the same modules in every run: with a compile cache they start 20 % faster.
    NODE_COMPILE_CACHE: join(dirname(home), "node"),
    ...extra,
  };
}
