import { UserError, type Problem } from "../../runtime/errors.ts";
import { proxyOf } from "../../runtime/proxy.ts";

/** Status codes of pveproxy itself when it could not reach the daemon or the other host. */
export const proxyFaults: ReadonlySet<number> = new Set([595, 596, 599]);

/** Proxmox refused a request. The reason phrase is the message: the body rarely adds anything. */
export class ProxmoxError extends Error {
  override readonly name = "ProxmoxError";
  readonly status: number;
  /** The reason phrase, as Proxmox words it. */
  readonly reason: string;
  /** One message for each parameter that was refused. */
  readonly errors: Readonly<Record<string, string>>;
  readonly method: string;
  /** Below `/api2/json`. */
  readonly path: string;

  constructor(answer: {
    status: number;
    reason: string;
    errors?: Record<string, string>;
    method: string;
    path: string;
  }) {
    const errors = answer.errors ?? {};
    const details = Object.entries(errors).map(([name, text]) => `${name}: ${text.trim()}`);
    super(`${[answer.reason, ...details].join("; ")} (${answer.status} to ${answer.method} ${answer.path})`);
    this.status = answer.status;
    this.reason = answer.reason;
    this.errors = errors;
    this.method = answer.method;
    this.path = answer.path;
  }

  /** The VM has no configuration: it was never created, or it was destroyed. Without rights this proves nothing. */
  get missingVm(): boolean {
    return this.status === 500 && /^Configuration file '.*' does not exist/.test(this.reason);
  }

  /**
   * The Proxmox host that does not answer, or that Proxmox no longer knows: the state of its VMs is unknown. A slow
   * guest agent causes the same status (596), so a request to an agent says nothing about the host.
   */
  get silentHost(): string | undefined {
    const [, host, rest = ""] = /^\/nodes\/([^/]+)\/(.*)$/.exec(this.path) ?? [];
    const proxied = proxyFaults.has(this.status) && !(this.status === 596 && rest.includes("/agent/"));
    return proxied || isUnknownHost(this) ? host : undefined;
  }

  /** The error as a problem for the operator. */
  get problem(): Problem {
    const { silentHost: host, message, method, path } = this;
    const where = `${method} ${path}`;
    if (host !== undefined && isUnknownHost(this))
      return { what: `Proxmox knows no host ${host}: ${message}`, where, todo: HOST_RECIPE };
    if (host !== undefined)
      return { what: `the Proxmox host ${host} does not answer: ${message}`, where, todo: HOST_RECIPE };
    return {
      what: `Proxmox refused a request: ${message}`,
      where,
      todo: "look at that host and at the task log in Proxmox, then run again: what was finished stays",
    };
  }
}

const HOST_RECIPE =
  'bring the host back, then run again. Gone for good, or a wrong name in evergreen:site.hosts: docs/recovery.md, "A Proxmox host is down"';

/** The host is not in this Proxmox cluster: a typing error, or it was removed from the cluster. */
export function isUnknownHost(error: unknown): boolean {
  return error instanceof ProxmoxError && error.status === 500 && /^hostname lookup '.*' failed/.test(error.reason);
}

/** @returns the host that does not answer, when the error says so */
export function silentHostOf(error: unknown): string | undefined {
  return error instanceof ProxmoxError ? error.silentHost : undefined;
}

/**
 * An answer that Proxmox cannot have meant: not JSON, no data, a field of another type. Nothing is concluded from it.
 */
export class ProxmoxAnswerError extends UserError {
  constructor(path: string, what: string) {
    super({
      what: `Proxmox gave an answer that is not understood: ${what}`,
      where: path,
      todo: "try again; when it stays, check what stands between this machine and Proxmox, and the Proxmox version (8.4 to 9.2)",
    });
  }
}

/** The token does not exist, its secret is wrong, or it has expired: Proxmox gives the same answer for all three. */
export class ProxmoxTokenRefused extends UserError {
  constructor(endpoint: string, token: string, reason: string) {
    const id = token.slice(0, token.indexOf("="));
    super({
      what: `Proxmox does not accept the token ${id}: ${reason || "no reason given"}`,
      where: endpoint,
      todo: "put the token's value into PROXMOX_VE_API_TOKEN; whether it exists and has expired says `pveum user token list` there",
    });
  }
}

const remedies: Record<string, string> = {
  ECONNREFUSED: "check that pveproxy runs there and that PROXMOX_VE_ENDPOINT names the right port (8006)",
  ENOTFOUND: "check the host name in PROXMOX_VE_ENDPOINT and this machine's DNS",
  DEPTH_ZERO_SELF_SIGNED_CERT:
    "set NODE_EXTRA_CA_CERTS to the CA certificate of the Proxmox cluster (/etc/pve/pve-root-ca.pem)",
  SELF_SIGNED_CERT_IN_CHAIN:
    "set NODE_EXTRA_CA_CERTS to the CA certificate of the Proxmox cluster (/etc/pve/pve-root-ca.pem)",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    "set NODE_EXTRA_CA_CERTS to the CA certificate of the Proxmox cluster (/etc/pve/pve-root-ca.pem)",
  ERR_TLS_CERT_ALTNAME_INVALID: "use a host name in PROXMOX_VE_ENDPOINT that stands in Proxmox's certificate",
};

/** Proxmox did not answer. */
export class ProxmoxUnreachable extends UserError {
  readonly code: string;

  constructor(endpoint: string, method: string, path: string, tries: number, cause: unknown) {
    const code = codeOf(cause);
    const proxy = proxyOf(new URL(endpoint))?.host;
    super(
      {
        what: `Proxmox does not answer (${code}, ${tries} ${tries === 1 ? "try" : "tries"})`,
        where: `${method} ${endpoint}/api2/json${path}${proxy === undefined ? "" : `, through the HTTP proxy ${proxy}`}`,
        todo:
          proxy !== undefined && ["ECONNREFUSED", "ENOTFOUND"].includes(code)
            ? "check that the proxy of HTTPS_PROXY runs, or name the host or its network in NO_PROXY"
            : (remedies[code] ?? "check the network between this machine and Proxmox, then run again"),
      },
      { cause },
    );
    this.code = code;
  }
}

function codeOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  if (cause.message.startsWith("Proxy response")) return cause.message;
  if ("code" in cause && typeof cause.code === "string") return cause.code;
  return cause.cause === undefined ? cause.message : codeOf(cause.cause);
}
