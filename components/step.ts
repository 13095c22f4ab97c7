import { local } from "@pulumi/command";
import type { CustomResourceOptions, CustomTimeouts, Input } from "@pulumi/pulumi";

/** What a step is started with: plain values, none of them a path or a secret. */
export type StepEnvironment = Record<string, Input<string>>;

export interface StepVerbs {
  create: string;
  update?: string;
  delete?: string;
}

/**
 * A step as a resource. It is started directly, not through a shell, so that a cancelled update ends it; the
 * interpreter is relative to the project, so that the state is the same from every checkout.
 */
export function step(
  name: string,
  verbs: StepVerbs,
  environment: StepEnvironment,
  options: CustomResourceOptions,
): local.Command {
  const inputs = { interpreter: ["./bin/step"], ...verbs, environment, logging: local.Logging.Stderr };
  return new local.Command(name, inputs, options);
}

/** The engine's own limits: a little above the deadlines of the step, which says what it waited for. */
export function seconds(limits: { update: number; delete?: number }): CustomTimeouts {
  const limit = (time: number): string => `${time + 120}s`;
  return { create: limit(limits.update), update: limit(limits.update), delete: limit(limits.delete ?? limits.update) };
}
