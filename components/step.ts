import { local } from "@pulumi/command";
import type { CustomResourceOptions, CustomTimeouts, Input } from "@pulumi/pulumi";
import { stepInterpreter } from "../src/domain/model/formats.ts";
import type { StepResource } from "../src/domain/rollout/graph.ts";

/** Environment variables of a step: plain values, none of them a path. */
export type StepEnvironment = Record<string, Input<string>>;

/**
 * `verb` runs when a step is new or changes, `deleteVerb` when it is no longer declared; the rest is as in the pool's
 * graph.
 */
export type StepArgs = Pick<StepResource, "name" | "limits" | "frozen"> & {
  verb: string;
  deleteVerb?: string;
};

/**
 * A step as a resource. The engine starts it directly, without a shell, so that cancelling an update ends it. The path
 * of the interpreter is relative to the project, so that the state is the same from every checkout.
 */
export function step(
  { name, verb, deleteVerb, limits, frozen }: StepArgs,
  environment: StepEnvironment,
  options: CustomResourceOptions,
): local.Command {
  const verbs = { create: verb, update: verb, ...(deleteVerb === undefined ? {} : { delete: deleteVerb }) };
  const inputs = { interpreter: [stepInterpreter], ...verbs, environment, logging: local.Logging.Stderr };
  return new local.Command(name, inputs, {
    ...options,
    ...(limits ? { customTimeouts: seconds(limits) } : {}),
    ...(frozen ? { ignoreChanges: ["create", "update", "environment"] } : {}),
  });
}

/** The engine's timeouts: slightly above the deadlines of the step, so that the step can report what it waited for. */
function seconds(limits: { update: number; delete?: number }): CustomTimeouts {
  const limit = (time: number): string => `${time + 120}s`;
  return { create: limit(limits.update), update: limit(limits.update), delete: limit(limits.delete ?? limits.update) };
}
