import { request, type Dispatcher } from "undici";
import { connections } from "../../runtime/connections.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "./access.ts";
import { isConnectionError } from "../retry.ts";
import { authorizationOf, type ServerToken } from "./server-token.ts";
import { supervisorAt } from "./urls.ts";

/** The request that `rke2 etcd-snapshot save` sends (k3s, pkg/etcd/snapshot_handler.go). */
export interface SaveRequest {
  /** Prefix of the snapshot's name; RKE2 appends the node and the time. */
  name: string;
  /** Undefined: only to the server's disk. The server's own S3 settings are not used, only those of the request. */
  s3?: {
    endpoint: string;
    bucket: string;
    region: string;
    folder: string;
    bucketLookup: "auto" | "path";
    insecure: boolean;
    accessKey: string;
    secretKey: string;
    sessionToken?: string;
    /** A duration in Go's notation. */
    timeout: string;
  };
}

/** The result of a request. `unknown`: the connection broke after it was sent, so a snapshot may exist nevertheless. */
export type SaveOutcome = { kind: "done" } | { kind: "unknown" | "refused"; why: string };

/** RKE2 makes one snapshot at a time, and a scheduled one may be in progress. */
const tries = 5;

/** Error codes of an established connection that breaks: the request may have been read. */
const mayHaveArrived: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

/**
 * Asks a ready server for a snapshot, through the registration address and as RKE2's own command does: POST
 * /db/snapshot with the server token, answered when the snapshot is made and uploaded. A refusal with 500 carries a
 * number that only RKE2's log explains, also while another snapshot is being made: so it is retried, like a connection
 * that could not be made.
 * @throws DeadlineError when RKE2 still refuses at the deadline
 */
export async function saveSnapshot(
  { ca }: Pick<Access, "ca">,
  registrationAddress: string,
  token: ServerToken,
  save: SaveRequest,
  deadline: Deadline,
): Promise<SaveOutcome> {
  const url = `${supervisorAt(registrationAddress)}/db/snapshot`;
  // The answer comes when the upload is complete: only the deadline's own signal ends the wait for it.
  const agent = connections({ connect: { ca, timeout: 5_000 }, pipelining: 0, headersTimeout: 0, bodyTimeout: 0 });
  let why = "";
  let tried = 0;
  const refused = (): SaveOutcome | undefined => {
    tried += 1;
    if (tried === tries) return { kind: "refused", why };
    say(`RKE2 makes no snapshot now: ${why}; try ${tried + 1} of ${tries}`);
    return undefined;
  };
  const once = async (): Promise<SaveOutcome | undefined> => {
    try {
      const { status, text } = await post(agent, url, token, save, deadline);
      if (status === 200) return { kind: "done" };
      why = `${status} to POST ${url}: ${reasonOf(text)}`;
      return status === 500 ? refused() : { kind: "refused", why };
    } catch (error) {
      deadline.throwIfStopped();
      if (deadline.passed) throw deadline.error(why || `no answer to POST ${url}`);
      if (!isConnectionError(error)) throw error;
      why = `no answer to POST ${url} (${error.code})`;
      return mayHaveArrived.has(error.code) ? { kind: "unknown", why } : refused();
    }
  };
  try {
    return await deadline.poll(
      (probes) => 1000 * 2 ** (probes - 1),
      once,
      () => why,
    );
  } finally {
    await agent.destroy();
  }
}

async function post(
  agent: Dispatcher,
  url: string,
  token: ServerToken,
  { name, s3 }: SaveRequest,
  deadline: Deadline,
): Promise<{ status: number; text: string }> {
  const answer = await request(url, {
    method: "POST",
    dispatcher: agent,
    headers: { authorization: authorizationOf(token), "content-type": "application/json" },
    // Retention 0, as in RKE2's command: nothing is pruned. The name is a list because a delete takes several.
    body: JSON.stringify({ operation: "save", name: [name], retention: 0, compress: false, ...(s3 && { s3 }) }),
    signal: deadline.signal(),
  });
  return { status: answer.statusCode, text: await answer.body.text() };
}

/** RKE2 answers with a Status object; a proxy in between may answer with anything. */
function reasonOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === "string") return message;
  } catch {
    // Shown unparsed.
  }
  return text.slice(0, 200) || "no reason given";
}
