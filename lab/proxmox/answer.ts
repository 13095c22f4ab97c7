/** A refusal in Proxmox VE's words: status, reason phrase and, for invalid parameters, a text per parameter. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly errors: Record<string, string> | undefined;
  /** Status 401, 595 and similar answers have no body. */
  readonly bodyless: boolean;

  constructor(status: number, reason: string, options: { errors?: Record<string, string>; bodyless?: boolean } = {}) {
    super(reason);
    this.status = status;
    this.errors = options.errors;
    this.bodyless = options.bodyless ?? false;
  }
}

/** The result of a Perl `die`: HTTP 500 with the text, or a task's exit status. */
export function died(text: string): ApiError {
  return new ApiError(500, text);
}

/** The answer to invalid parameters, each with its own text. */
export function invalid(errors: Record<string, string>): ApiError {
  return new ApiError(400, "Parameter verification failed.", { errors });
}

/** @param detail the text in parentheses: path and privileges; absent when the rule has alternatives */
export function forbidden(detail?: string): ApiError {
  return new ApiError(403, `Permission check failed${detail === undefined ? "" : ` (${detail})`}`);
}

export function notImplemented(method: string, path: string): ApiError {
  return new ApiError(501, `Method '${method} /${path}' not implemented`);
}
