/** What an operator needs to act on an error: the fact, the place, the remedy. */
export interface Problem {
  /** What is wrong, as one sentence without a full stop. */
  what: string;
  /** Where it was found: a configuration path, a VM, a node, an API path. */
  where: string;
  /** What to do about it now. */
  todo: string;
}

/** An error that the user can act on. Every other error is a defect of the program or of its environment. */
export class UserError extends Error {
  override readonly name = "UserError";
  readonly problem: Problem;

  constructor(problem: Problem, options?: ErrorOptions) {
    super(`${problem.what}\n  where: ${problem.where}\n  do:    ${problem.todo}`, options);
    this.problem = problem;
  }
}

/** Several problems found together, so that a user can fix them all at once. */
export class UserErrors extends Error {
  override readonly name = "UserErrors";
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map((problem) => new UserError(problem).message).join("\n"));
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
