import { RunError } from "@pulumi/pulumi";
import { betweenClusters } from "../src/config/checks.ts";
import { readConfig, SERVER_POOL, type Config } from "../src/config/config.ts";
import type { PlannedCluster } from "../src/domain/rollout/planned.ts";
import { planUpdate } from "../src/program/plan-update.ts";
import { asUserError, UserErrors } from "../src/runtime/errors.ts";
import { redact } from "../src/runtime/log.ts";
import { ArgumentErrors } from "./arguments.ts";
import type { ClusterArgs } from "./cluster-args.ts";

/** The clusters of this program. */
const clusters: Config[] = [];

/**
 * Reads the arguments of a cluster and fills in the defaults.
 * @throws ArgumentErrors that name every wrong argument by its path
 */
export function readClusterArgs(args: ClusterArgs): Config {
  const name = `the cluster ${args.cluster}`;
  const config = read(name, args);
  const problems = clusters.flatMap((other) => betweenClusters(config, other, SERVER_POOL));
  if (problems.length > 0) throw new ArgumentErrors(name, problems);
  clusters.push(config);
  return config;
}

function read(name: string, args: ClusterArgs): Config {
  try {
    return readConfig(args);
  } catch (error) {
    throw error instanceof UserErrors ? new ArgumentErrors(name, error.problems) : error;
  }
}

/**
 * Plans what this run does to a cluster whose arguments were read.
 * @throws RunError that says why the run is refused
 */
export async function planRead(config: Config): Promise<PlannedCluster> {
  return await planUpdate(config).catch(explain);
}

/** Shows an error that the user can correct without a stack trace. */
export function explain(error: unknown): never {
  const ours = asUserError(error);
  throw ours === undefined ? error : new RunError(redact(ours.message));
}
