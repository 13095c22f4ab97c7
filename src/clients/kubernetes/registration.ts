import { request } from "undici";
import { connections } from "../../runtime/connections.ts";
import { ports } from "../../../images/contract.ts";
import { isConnectionError } from "./client.ts";

/**
 * Whether a server of RKE2 answers at the registration address: it shows its certificates to anybody (GET /cacerts), as nodes ask
 * before they know whom to trust. Nothing is sent, and nothing that is said is believed but that somebody is there.
 * @returns false: nobody who is known as one, as a load balancer without servers. It proves nothing
 */
export async function isServerThere(registrationAddress: string, signal: AbortSignal): Promise<boolean> {
  const url = `https://${registrationAddress}:${ports.supervisor}/cacerts`;
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
