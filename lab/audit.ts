/** Audit events that the API servers send for each request of the administrator, before its effect and its answer. */
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import type { Boundaries, Crossing } from "./boundaries.ts";
import { userAgent } from "./kube.ts";

/** An event of `audit.k8s.io/v1`, as far as it matters here. */
interface AuditEvent {
  auditID: string;
  stage: "RequestReceived" | "ResponseComplete";
  verb: string;
  requestURI: string;
  userAgent?: string;
}

/** Flags of kube-apiserver. */
export type AuditFlags = Readonly<Record<string, string>>;

const methods: Readonly<Record<string, string>> = {
  create: "POST",
  update: "PUT",
  patch: "PATCH",
  delete: "DELETE",
  deletecollection: "DELETE",
  post: "POST",
};

/** The first rule that matches applies: only requests of the administrator are reported. */
const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted, Panic]
rules:
  - level: Metadata
    users: ["system:admin"]
  - level: None
`;

const webhook = (url: string) => `apiVersion: v1
kind: Config
clusters:
  - { name: lab, cluster: { server: "${url}" } }
users:
  - { name: lab, user: {} }
contexts:
  - { name: lab, context: { cluster: lab, user: lab } }
current-context: lab
`;

/** Listens for audit events of API servers, and holds each request at its boundaries. */
export class Audit {
  readonly flags: AuditFlags;
  private readonly boundaries: Boundaries;
  private readonly crossings = new Map<string, { crossing: Crossing; before: Promise<boolean> }>();
  private readonly server: http.Server;
  private readonly address: string;

  /**
   * @param directory for the files that the API servers read
   * @param address loopback address to listen on
   */
  constructor(boundaries: Boundaries, directory: string, address: string) {
    this.boundaries = boundaries;
    this.address = address;
    this.server = http.createServer((request, response) => {
      void this.judge(request).then((status) => response.writeHead(status).end());
    });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const file = (name: string, content: string): string => {
      writeFileSync(join(directory, name), content, { mode: 0o600 });
      return join(directory, name);
    };
    this.flags = {
      "audit-policy-file": file("policy.yaml", policy),
      "audit-webhook-config-file": file("webhook.yaml", webhook(`http://${address}:8080/`)),
      // A request waits for the answer to each of its events, and fails when the first one is refused.
      "audit-webhook-mode": "blocking-strict",
      // A refused event is sent four more times, with growing pauses.
      "audit-webhook-initial-backoff": "20ms",
    };
  }

  async listen(): Promise<void> {
    this.server.listen(8080, this.address);
    await once(this.server, "listening");
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  /** @returns the status to answer with: refusing the first event of a request ends it before it has any effect */
  private async judge(request: http.IncomingMessage): Promise<number> {
    const { items } = (await json(request)) as { items: AuditEvent[] };
    const cut = await Promise.all(items.map((event) => this.cuts(event)));
    return cut.includes(true) ? 403 : 200;
  }

  private async cuts({ auditID, stage, verb, requestURI, userAgent: agent }: AuditEvent): Promise<boolean> {
    // The lab is an administrator as well: its own requests are not held.
    if (agent === userAgent) return false;
    if (stage === "RequestReceived") {
      const known = this.crossings.get(auditID);
      // The API server sends a refused event again.
      if (known) return await known.before;
      const crossing = this.boundaries.enter({ method: methods[verb] ?? "GET", path: requestURI });
      const before = crossing.at("before");
      this.crossings.set(auditID, { crossing, before });
      return await before;
    }
    const known = this.crossings.get(auditID);
    this.crossings.delete(auditID);
    // Nothing is left to refuse: the client of a held request has gone.
    await known?.crossing.at("after");
    return false;
  }
}
