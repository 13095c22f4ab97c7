import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { rootCertificates } from "node:tls";
import { request, type Dispatcher } from "undici";
import { connections } from "../../runtime/connections.ts";
import { UserErrors, type Problem } from "../../runtime/errors.ts";
import { hide } from "../../runtime/log.ts";
import { sendRetrying } from "../retry.ts";
import { ProxmoxAnswerError, ProxmoxError, ProxmoxTokenRefused, ProxmoxUnreachable, proxyFaults } from "./errors.ts";

/** A list is sent as one parameter for each of its texts. */
export type Value = string | number | boolean | readonly string[];
export type Parameters = Record<string, Value | undefined>;
type Method = "GET" | "POST" | "PUT" | "DELETE";

/** A file that is sent to a storage. */
export interface UploadedFile {
  name: string;
  bytes: Uint8Array;
}

/** What is sent with a request, beside its address. */
interface Body {
  type: string;
  data: string | Uint8Array;
}

export interface ProxmoxCredentials {
  /** `https://host:8006`, without a path. */
  endpoint: string;
  /** `USER@REALM!ID=UUID` */
  token: string;
}

/** The variables that the provider reads (bpg/terraform-provider-proxmox reads `PM_VE_*` too). */
const ofProvider = /^(PROXMOX|PM)_VE_/;
/**
 * The two that this client reads too, and settings that our resources do not use: SSH uploads and their temporary
 * directory.
 */
const harmless = /^PROXMOX_VE_(ENDPOINT|API_TOKEN)$|^(PROXMOX|PM)_VE_(SSH_\w+|TMPDIR)$/;

/**
 * Problems of variables that change how the provider reaches Proxmox. The provider destroys VMs by their number, so it
 * must reach the Proxmox that the program has read, in the same way: every variable that redirects it, changes its
 * login or widens its trust is refused.
 */
function otherWays(environment: Record<string, string | undefined>): Problem[] {
  return Object.entries(environment)
    .filter(
      ([name, value]) => ofProvider.test(name) && !harmless.test(name) && !["", "0", "false"].includes(value ?? ""),
    )
    .map(([name]) => ({
      what: `${name} is set: the provider would reach Proxmox in another way than the program and its steps`,
      where: "the environment",
      todo: `unset ${name}: PROXMOX_VE_ENDPOINT and PROXMOX_VE_API_TOKEN say all; a certificate of your own authority is trusted by NODE_EXTRA_CA_CERTS and SSL_CERT_DIR`,
    }));
}

/**
 * Reads PROXMOX_VE_ENDPOINT and PROXMOX_VE_API_TOKEN and hides the token from every log.
 * @throws UserErrors that says which of them is missing or malformed, and which variables would redirect the provider
 */
export function credentialsFrom(environment: Record<string, string | undefined>): ProxmoxCredentials {
  const problems = otherWays(environment);
  const expect = (name: string, form: RegExp, example: string): string => {
    const value = environment[name] ?? "";
    if (form.test(value) && (!value.startsWith("https:") || URL.canParse(value))) return value;
    problems.push({
      what: value === "" ? `${name} is not set` : `${name} has not the form ${example}`,
      where: "the environment",
      // In quotes, because an interactive shell would expand the exclamation mark of a token.
      todo: `export ${name}='${example}'; for the stack dev, start its lab: npx evergreen lab up`,
    });
    return "";
  };
  const endpoint = expect("PROXMOX_VE_ENDPOINT", /^https:\/\/[^/\s]+\/?/, "https://HOST:8006");
  // The provider cuts a path off (bpg, proxmox/api/client.go), so program and provider would ask two different servers.
  const { pathname } = endpoint === "" ? { pathname: "/" } : new URL(endpoint);
  if (!/^\/(api2\/json\/?)?$/.test(pathname))
    problems.push({
      what: `PROXMOX_VE_ENDPOINT has the path ${pathname}, and the Proxmox provider reaches only the root of a server`,
      where: "the environment",
      todo: "name a server or a port at which Proxmox VE answers without a path; a reverse proxy can give it a host name of its own",
    });
  const token = expect("PROXMOX_VE_API_TOKEN", /^\S+@\S+!\S+=[a-zA-Z0-9-]+$/, "USER@REALM!ID=UUID");
  if (problems.length > 0) throw new UserErrors(problems);
  hide(token);
  hide(token.slice(token.indexOf("=") + 1));
  return { endpoint: new URL(endpoint).origin, token };
}

export interface ProxmoxOptions extends ProxmoxCredentials {
  /** CA certificates, PEM; default: Node's own and NODE_EXTRA_CA_CERTS. */
  ca?: string;
  /** Pause before the second try of a GET, in milliseconds; doubles. @default 250 */
  retryMs?: number;
}

/**
 * A client of the Proxmox VE API, with a token. A read that got no answer is retried; a write never is, because it may
 * have been carried out.
 */
export class Proxmox {
  readonly endpoint: string;
  private readonly token: string;
  private readonly retryMs: number;
  private readonly agent: Dispatcher;

  constructor(options: ProxmoxOptions) {
    this.endpoint = options.endpoint;
    this.token = options.token;
    this.retryMs = options.retryMs ?? 250;
    this.agent = connections({
      connect: { timeout: 10_000, ...(options.ca === undefined ? {} : { ca: options.ca }) },
      connections: 16,
      // pveproxy closes idle sockets after 5 s: a socket that is kept longer breaks the next request.
      keepAliveTimeout: 3_000,
      keepAliveMaxTimeout: 3_000,
      // The longest synchronous answer waits 10 s for a lock and 3 s for a guest agent.
      headersTimeout: 60_000,
      bodyTimeout: 60_000,
    });
  }

  /** The client for the credentials in an environment. */
  static fromEnvironment(environment: Record<string, string | undefined> = process.env): Proxmox {
    const credentials = credentialsFrom(environment);
    // Node reads this variable only at its own start: for the environment of another process it is read here.
    const file = environment === process.env ? undefined : environment.NODE_EXTRA_CA_CERTS;
    if (file === undefined) return new Proxmox(credentials);
    return new Proxmox({ ...credentials, ca: [...rootCertificates, readFileSync(file, "utf8")].join("\n") });
  }

  get(path: string, query: Parameters = {}): Promise<unknown> {
    return this.call("GET", path, query);
  }

  post(path: string, form: Parameters = {}): Promise<unknown> {
    return this.call("POST", path, form);
  }

  put(path: string, form: Parameters = {}): Promise<unknown> {
    return this.call("PUT", path, form);
  }

  delete(path: string, query: Parameters = {}): Promise<unknown> {
    return this.call("DELETE", path, query);
  }

  /**
   * Sends a file. pveproxy reads the fields only in the order `content`, `checksum-algorithm`, `checksum`, then the file,
   * and no body of unknown length.
   */
  sendFile(path: string, fields: Record<string, string>, file: UploadedFile): Promise<unknown> {
    return this.send("POST", path, "", multipart(fields, file));
  }

  async close(): Promise<void> {
    await this.agent.close();
  }

  private async call(method: Method, path: string, parameters: Parameters): Promise<unknown> {
    const form = encode(parameters);
    if (method === "GET" || method === "DELETE") return await this.send(method, path, form === "" ? "" : `?${form}`);
    return await this.send(method, path, "", { type: "application/x-www-form-urlencoded", data: form });
  }

  private async send(method: Method, path: string, query: string, body?: Body): Promise<unknown> {
    return await sendRetrying({
      title: `Proxmox: ${method} ${path}`,
      send: () => this.sendOnce(method, path, query, body),
      isRepeatable: method === "GET",
      isTransient: (error) => error instanceof ProxmoxError && proxyFaults.has(error.status),
      pauseMs: this.retryMs,
      unreachable: (attempts, cause) => new ProxmoxUnreachable(this.endpoint, method, path, attempts, cause),
    });
  }

  private async sendOnce(method: Method, path: string, query: string, sent?: Body): Promise<unknown> {
    const answer = await request(`${this.endpoint}/api2/json${path}${query}`, {
      method,
      dispatcher: this.agent,
      headers: {
        authorization: `PVEAPIToken=${this.token}`,
        ...(sent ? { "content-type": sent.type } : {}),
      },
      ...(sent ? { body: sent.data } : {}),
    });
    const body = parseBody(await answer.body.text());
    if (answer.statusCode === 401) throw new ProxmoxTokenRefused(this.endpoint, this.token, answer.statusText);
    if (answer.statusCode < 200 || answer.statusCode > 299) throw refusal(answer, body, method, path);
    if (body === undefined || !("data" in body)) throw new ProxmoxAnswerError(`${method} ${path}`, "no data in it");
    return body.data;
  }
}

/** Percent-encodes everything: Proxmox misreads a raw `=` inside a value. Booleans are 1 and 0. */
function encode(parameters: Parameters): string {
  return Object.entries(parameters)
    .flatMap(([name, value]) => (value === undefined ? [] : plain(value).map((text) => [name, text] as const)))
    .map(([name, text]) => `${encodeURIComponent(name)}=${encodeURIComponent(text)}`)
    .join("&");
}

function plain(value: Value): readonly string[] {
  if (typeof value === "object") return value;
  return [typeof value === "boolean" ? (value ? "1" : "0") : String(value)];
}

/** A body as `multipart/form-data`: the fields, then the file in the field `filename`. */
function multipart(fields: Record<string, string>, { name, bytes }: UploadedFile): Body {
  const boundary = `evergreen-${randomUUID()}`;
  const head = (disposition: string): string => `--${boundary}\r\nContent-Disposition: form-data; ${disposition}\r\n`;
  const texts = Object.entries(fields).map(([key, value]) => `${head(`name="${key}"`)}\r\n${value}\r\n`);
  const before = `${texts.join("")}${head(`name="filename"; filename="${name}"`)}Content-Type: application/octet-stream\r\n\r\n`;
  const data = Buffer.concat([Buffer.from(before), bytes, Buffer.from(`\r\n--${boundary}--\r\n`)]);
  return { type: `multipart/form-data; boundary=${boundary}`, data };
}

function parseBody(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function refusal(
  answer: { statusCode: number; statusText: string },
  body: Record<string, unknown> | undefined,
  method: string,
  path: string,
): ProxmoxError {
  const errors = body?.errors;
  return new ProxmoxError({
    status: answer.statusCode,
    reason: answer.statusText || `HTTP ${answer.statusCode}`,
    errors: typeof errors === "object" && errors !== null ? (errors as Record<string, string>) : {},
    method,
    path,
  });
}
