/** What the API servers say of each request of the administrator before it is worked on and before it is answered. */
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

/** The first rule that matches counts: nobody but the administrator is heard of. */
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

/** Listens for what API servers tell, and lets each request wait at its boundaries. */
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
      // A refusal is tried four times more, with pauses that grow.
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

  /** @returns the status to answer with: a refusal of its first event ends a request before it has any effect */
  private async judge(request: http.IncomingMessage): Promise<number> {
    const { items } = (await json(request)) as { items: AuditEvent[] };
    const cut = await Promise.all(items.map((event) => this.cuts(event)));
    return cut.includes(true) ? 403 : 200;
  }

  private async cuts({ auditID, stage, verb, requestURI, userAgent: agent }: AuditEvent): Promise<boolean> {
    // The lab is an administrator as well.
    if (agent === userAgent) return false;
    if (stage === "RequestReceived") {
      const known = this.crossings.get(auditID);
      // An event that was refused is told again.
      if (known) return await known.before;
      const crossing = this.boundaries.enter({ method: methods[verb] ?? "GET", path: requestURI });
      const before = crossing.at("before");
      this.crossings.set(auditID, { crossing, before });
      return await before;
    }
    const known = this.crossings.get(auditID);
    this.crossings.delete(auditID);
    // Nothing is left to refuse: whoever asked has gone.
    await known?.crossing.at("after");
    return false;
  }
}
