import { request } from "undici";
import { connections } from "../../runtime/connections.ts";
import { isConnectionError } from "../retry.ts";
import { supervisorAt } from "./urls.ts";

/**
 * Whether an RKE2 server answers at the registration address. A server shows its certificates without authentication
 * (GET /cacerts), as nodes ask for them before they can verify a server. The request carries no credentials, and the
 * answer is trusted for nothing except that a server is there.
 * @returns false: no answer that a server gives, as from a load balancer without servers. That proves nothing
 */
export async function isServerThere(registrationAddress: string, signal: AbortSignal): Promise<boolean> {
  const url = `${supervisorAt(registrationAddress)}/cacerts`;
  const connect = { rejectUnauthorized: false, timeout: 5_000 };
  const agent = connections({ connect, headersTimeout: 5_000, bodyTimeout: 5_000 });
  try {
    const answer = await request(url, { dispatcher: agent, signal });
    const text = await answer.body.text();
    return answer.statusCode === 200 && text.includes("BEGIN CERTIFICATE");
  } catch (error) {
    if (!isConnectionError(error)) throw error;
    return false;
  } finally {
    await agent.destroy();
  }
}
