/** The one retry policy of the clients: which failures are tried again, how often, and after which pauses. */
import { clock } from "../runtime/clock.ts";
import { messageOf, UserError } from "../runtime/errors.ts";
import { say } from "../runtime/log.ts";

/** How often a request is sent at most. */
export const tries = 4;

/** A request that may be sent again. */
export interface Retryable<T> {
  /** API, method and path, for the log. */
  title: string;
  send: () => Promise<T>;
  /** Whether it can be sent twice: a request without an answer may have been carried out. */
  isRepeatable: boolean;
  /** Whether an answer may be another one at the next try. A connection that fails may always be. */
  isTransient: (error: unknown) => boolean;
  /** Pause before the second try, in milliseconds; doubles. */
  pauseMs: number;
  /** Called before it is sent again: throws when it must not be sent any more. */
  beforeNextTry?: () => Promise<void>;
  /** The error for the caller after the last try got no answer. */
  unreachable: (attempts: number, cause: unknown) => Error;
}

/** Sends a request until it is answered, at most {@link tries} times. */
export async function sendRetrying<T>(request: Retryable<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await request.send();
    } catch (error) {
      requireProxy(error, request.title);
      const isUnanswered = isConnectionError(error);
      if (!isUnanswered && !request.isTransient(error)) throw error;
      if (!request.isRepeatable || attempt === tries) throw isUnanswered ? request.unreachable(attempt, error) : error;
      say(`${request.title}: ${messageOf(error)}; try ${attempt + 1} of ${tries}`);
      await clock.sleep(request.pauseMs * 2 ** (attempt - 1));
      await request.beforeNextTry?.();
    }
  }
}

/** What undici says when a proxy does not lead on: the proxy's own status. */
const PROXY_ANSWER = /^Proxy response \((\d+)\)/;

const proxyStatus = (error: unknown): number =>
  Number(PROXY_ANSWER.exec(error instanceof Error ? error.message : "")?.[1] ?? 0);

/** @throws UserError when the proxy refuses the request itself: another try gets the same answer */
export function requireProxy(error: unknown, title: string): void {
  const status = proxyStatus(error);
  if (status < 400 || status >= 500) return;
  throw new UserError(
    {
      what: `the HTTP proxy refuses to lead to the host (${status})`,
      where: `HTTPS_PROXY; ${title}`,
      todo: "give the proxy what it asks for (407: user and password in its URL), have it allow the host, or name the host or its network in NO_PROXY",
    },
    { cause: error },
  );
}

/** Only errors of undici, the socket and TLS; not an abort of ours, and not an answer that was not understood. */
export function isConnectionError(error: unknown): error is Error & { code: string } {
  if (!(error instanceof Error) || !("code" in error)) return false;
  // The proxy answers, and what is behind it does not.
  if (proxyStatus(error) >= 500) return true;
  return typeof error.code === "string" && error.name !== "AbortError" && !(error instanceof TypeError);
}
