/** What an operator needs to know to act on a refusal: the fact, the place and the remedy. */
export interface Problem {
  /** What is wrong, as one sentence without a full stop. */
  what: string;
  /** Where it was found: a configuration path, a VM, a node, an API path. */
  where: string;
  /** What to do about it now. */
  todo: string;
}

/** A problem as the user reads it, three lines. */
export function problemText({ what, where, todo }: Problem): string {
  return `${what}\n  where: ${where}\n  do:    ${todo}`;
}

/**
 * Thrown when no plan keeps the rules. Nothing was changed; callers report the problems in the same form as their own.
 */
export class PlanError extends Error {
  override readonly name = "PlanError";
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(problemText).join("\n"));
    this.problems = problems;
  }
}

/** Throws a PlanError when there are problems. */
export function refuse(problems: readonly Problem[]): void {
  if (problems.length > 0) throw new PlanError(problems);
}
