import { Agent, request } from "undici";

/**
 * Asks one server for a snapshot of etcd, as RKE2's own command does.
 * @param token the server token
 * @param s3 the bucket that gets it too
 * @returns its name, once for each place where it lies
 */
export async function takeSnapshot(address: string, token: string, s3?: object): Promise<string[]> {
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
  const password = token.slice(token.lastIndexOf(":") + 1);
  const answer = await request(`https://${address}:9345/db/snapshot`, {
    method: "POST",
    dispatcher,
    headers: { authorization: `Basic ${Buffer.from(`server:${password}`).toString("base64")}` },
    body: JSON.stringify({ operation: "save", name: ["before-the-fire"], s3 }),
  });
  const { created } = (await answer.body.json()) as { created: string[] };
  await dispatcher.destroy();
  return created;
}
