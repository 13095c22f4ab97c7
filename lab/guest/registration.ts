/** The requests of a joining node to the registration address, and the words in which RKE2 reports a refusal. */
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { Agent, request } from "undici";
import type { Dispatcher } from "undici";
import { messageOf } from "../../src/runtime/errors.ts";
import type { Credentials } from "../pki.ts";
import type { GuestContext } from "./context.ts";
import { parseToken, paths } from "./join.ts";
import type { Token } from "./join.ts";

/** RKE2 could not continue; the message is the line of its log. */
export class JoinFailure extends Error {
  override readonly name = "JoinFailure";
}

class Unauthorized extends JoinFailure {}

/** How a kubelet reaches the API. */
export interface KubeletIdentity {
  /** PEM of the API server's CA. */
  ca: string;
  credentials: Credentials;
}

/**
 * Fetches the cluster's CA and compares it with the hash in the token.
 * @param url `https://127.40.0.5:9345`
 */
export async function fetchCa(
  guest: GuestContext,
  url: string,
  token: Token | undefined,
  signal: AbortSignal,
): Promise<string> {
  const ca = await ask(`${url}/cacerts`, { rejectUnauthorized: false }, {}, signal).catch((error: unknown) => {
    throw new JoinFailure(`failed to get CA certs: ${messageOf(error)}`);
  });
  const hash = createHash("sha256").update(ca).digest("hex");
  if (token?.caHash !== undefined && token.caHash !== hash) {
    const text = `token CA hash does not match the Cluster CA certificate hash: ${token.caHash} != ${hash}`;
    throw new JoinFailure(`failed to validate token: ${text}`);
  }
  requireValid(ca, guest.now(), url);
  return ca;
}

/** To a guest whose clock is behind, the cluster's certificates are not yet valid; the words are Go's and k3s's. */
function requireValid(ca: string, now: Date, url: string): void {
  const from = new Date(new X509Certificate(ca).validFrom);
  if (now >= from) return;
  const text = (time: Date) => time.toISOString().replace(/\.\d+Z$/, "Z");
  throw new JoinFailure(
    `CA cert validation failed: Get \\"${url}/cacerts\\": tls: failed to verify certificate: x509: certificate has ` +
      `expired or is not yet valid: current time ${text(now)} is before ${text(from)}`,
  );
}

/** Checks that the registration address accepts a server's token. @throws JoinFailure */
export async function checkServerToken(url: string, ca: string, token: Token, signal: AbortSignal): Promise<void> {
  await ask(`${url}/v1-rke2/server-bootstrap`, { ca }, authorization(token, "server"), signal);
}

/**
 * Gets the kubelet's certificate, by its previous certificate or else by token, and keeps it on the guest's disk.
 * @throws JoinFailure
 */
export async function kubeletIdentity(
  guest: GuestContext,
  url: string,
  ca: string,
  node: string,
  token: Token | undefined,
  signal: AbortSignal,
): Promise<KubeletIdentity> {
  const { files } = guest;
  if (!files.get(paths.nodePassword)) files.put(paths.nodePassword, `${randomBytes(16).toString("hex")}\n`);
  const headers = { "rke2-node-name": node, "rke2-node-password": files.text(paths.nodePassword).trim() };
  const path = `${url}/v1-rke2/client-kubelet.crt`;
  const own = { cert: files.text(paths.kubeletCertificate), key: files.text(paths.kubeletKey) };
  const byToken = () => {
    if (!token) throw new JoinFailure("--token is required");
    return ask(path, { ca }, { ...headers, ...authorization(token, "node") }, signal);
  };
  const byCertificate = () =>
    ask(path, { ca, ...own }, headers, signal).catch((error: unknown) => {
      if (error instanceof Unauthorized && token) return byToken();
      throw error;
    });
  const text = await (own.cert === "" ? byToken() : byCertificate());
  const split = text.indexOf("-----BEGIN PRIVATE KEY-----");
  const credentials = { cert: text.slice(0, split), key: text.slice(split) };
  files.put(paths.kubeletCertificate, credentials.cert);
  files.put(paths.kubeletKey, credentials.key);
  files.put(paths.serverCa, ca);
  return { ca, credentials };
}

export function readToken(text: string | undefined): Token | undefined {
  if (text === undefined || text === "") return undefined;
  try {
    return parseToken(text);
  } catch (error) {
    throw new JoinFailure(`failed to validate token: ${messageOf(error)}`);
  }
}

function authorization({ credential }: Token, user: "server" | "node"): Record<string, string> {
  if (credential.kind === "bootstrap") return { authorization: `Bearer ${credential.token}` };
  const text = Buffer.from(`${user}:${credential.password}`).toString("base64");
  return { authorization: `Basic ${text}` };
}

async function ask(
  url: string,
  connect: { ca?: string; cert?: string; key?: string; rejectUnauthorized?: boolean },
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<string> {
  const agent = new Agent({ connect, headersTimeout: 10_000 });
  try {
    const { statusCode, body }: Dispatcher.ResponseData = await request(url, { dispatcher: agent, headers, signal });
    const text = await body.text();
    if (statusCode === 200) return text;
    throw refused(url, statusCode, text);
  } catch (error) {
    if (error instanceof JoinFailure || signal.aborted) throw error;
    throw new JoinFailure(`Get "${url}": ${messageOf(error)}`);
  } finally {
    await agent.destroy();
  }
}

function refused(url: string, status: number, text: string): JoinFailure {
  if (status === 401) return new Unauthorized(`${url}: 401 Unauthorized`);
  if (status === 403 && text.includes("unable to verify password")) {
    return new JoinFailure(
      `Node password rejected, duplicate hostname or contents of '${paths.nodePassword}' may not match server ` +
        "node-passwd entry, try enabling a unique node name with the --with-node-id flag",
    );
  }
  return new JoinFailure(`${url}: ${status} ${text.slice(0, 200)}`);
}
