import type { Answer } from "../kube.ts";
import type { Scope } from "./scope.ts";

/** Milliseconds between two attempts. */
const pause = 250;

/**
 * Repeats a call of an API until it answers: a kubelet or a controller outlives an API server that is down. A refusal
 * is an answer; status 429 and 5xx are not.
 * @throws when the scope ends
 */
export async function insist<T>(scope: Scope, call: () => Promise<Answer<T>>): Promise<Answer<T>> {
  for (;;) {
    const answer = await call().catch(() => undefined);
    scope.signal.throwIfAborted();
    if (answer && answer.status < 500 && answer.status !== 429) return answer;
    await scope.wait(pause);
  }
}
