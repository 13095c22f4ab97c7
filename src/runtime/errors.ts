import { problemText, type Problem } from "../domain/model/problem.ts";

export type { Problem };

/** An error that the user can act on. Every other error is a defect of the program or of its environment. */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly problem: Problem;

  constructor(problem: Problem, options?: ErrorOptions) {
    super(problemText(problem), options);
    this.problem = problem;
  }
}

/** Several problems found together, so that a user can fix them all at once. */
export class UserErrors extends Error {
  override readonly name = "UserErrors";
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(problemText).join("\n"));
    this.problems = problems;
  }
}

/**
 * The error as a user error: one of our own, or an error of an API that carries its own explanation (`problem`).
 * @returns undefined for a defect
 */
export function asUserError(error: unknown): UserError | UserErrors | undefined {
  if (error instanceof UserError || error instanceof UserErrors) return error;
  const refused = error instanceof Error && "problem" in error ? error.problem : undefined;
  return refused === undefined ? undefined : new UserError(refused as Problem, { cause: error });
}

/** The message of any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
