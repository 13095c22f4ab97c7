import { UserError } from "../../runtime/errors.ts";

/** The API server refused a request. */
export class KubernetesError extends Error {
  override readonly name = "KubernetesError";
  readonly status: number;
  /** `NotFound`, `AlreadyExists`, `Conflict`, `TooManyRequests`, `Expired`, ... */
  readonly reason: string;
  /** Reasons in detail: `DisruptionBudget`, `FieldManagerConflict`, ... */
  readonly causes: readonly string[];

  constructor(answer: {
    status: number;
    reason: string;
    message: string;
    causes: string[];
    method: string;
    path: string;
  }) {
    super(`${answer.message} (${answer.status} ${answer.reason} to ${answer.method} ${answer.path})`);
    this.status = answer.status;
    this.reason = answer.reason;
    this.causes = answer.causes;
  }
}

/** The refusal in a Status object, which a watch also sends when it breaks. */
export function refusal(body: unknown, status: number, method: string, path: string): KubernetesError {
  const { message, reason, code, details } = (typeof body === "object" && body !== null ? body : {}) as {
    message?: string;
    reason?: string;
    code?: number;
    details?: { causes?: { reason?: string }[] };
  };
  return new KubernetesError({
    status: code ?? status,
    reason: reason ?? `HTTP${status}`,
    message: message ?? (typeof body === "string" && body !== "" ? body.slice(0, 200) : "no reason given"),
    causes: details?.causes?.flatMap((cause) => cause.reason ?? []) ?? [],
    method,
    path,
  });
}

/** etcd has raised the alarm NOSPACE: the cluster can be read, but accepts no writes until space is freed. */
export class EtcdFull extends UserError {
  constructor(cause: KubernetesError) {
    super(
      {
        what: "etcd is full and takes no writes (alarm NOSPACE): nothing in the cluster can be changed",
        where: cause.message,
        todo: 'compact and defragment etcd on each server, then disarm the alarm: docs/recovery.md, "etcd is full"; see what fills it (events, old revisions), or raise quota-backend-bytes',
      },
      { cause },
    );
  }
}

/** The error to throw for a refusal: a more specific one when the message reveals the cause. */
export function explained(error: KubernetesError): Error {
  return error.message.includes("mvcc: database space exceeded") ? new EtcdFull(error) : error;
}

/** The API server did not answer. */
export class KubernetesUnreachable extends UserError {
  constructor(server: string, method: string, path: string, tries: number, cause: unknown) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    super(
      {
        what: `the cluster's API does not answer (${code}, ${tries} ${tries === 1 ? "try" : "tries"})`,
        where: `${method} ${server}${path}`,
        todo: 'check that the registration address leads to a ready server (port 6443), then run again; when no server is ready: docs/recovery.md, "The quorum is lost"',
      },
      { cause },
    );
  }
}

/** True when the API server says that something does not exist. An unreachable or refusing API does not say that. */
export function isNotFound(error: unknown): boolean {
  return error instanceof KubernetesError && error.status === 404;
}

/** Another client created or changed the object first. */
export function isConflict(error: unknown): boolean {
  return error instanceof KubernetesError && error.status === 409;
}
