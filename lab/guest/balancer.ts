/** The registration address: a TCP load balancer in front of the servers, as a real site has. */
import https from "node:https";
import net from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { UserError } from "../../src/runtime/errors.ts";
import { Scope } from "./scope.ts";

/** The Kubernetes API and RKE2's supervisor. */
const ports = [6443, 9345];

/** Milliseconds between two health checks of a server. */
const checkEvery = 1000;
/** Milliseconds until a check times out: an election takes one second and must not look like a failure. */
const checkPatience = 3000;
/** Failed checks in a row after which a server gets no more connections. */
const strikes = 3;

/** Milliseconds without a byte after which the balancer assumes that a connection carries no request. */
const quiet = 1000;
/** Milliseconds after which the connections to a draining server are cut, even when requests are under way on them. */
const drainPatience = 3000;

/** Credentials of a health check. */
interface ClientCertificate {
  cert: string;
  key: string;
}

interface Backend {
  address: string;
  client: Partial<ClientCertificate>;
  /** Failed checks in a row. */
  failures: number;
  /** Gets no new connections: the server is about to leave or to stop. */
  draining: boolean;
  connections: Set<Connection>;
  scope: Scope;
}

interface Connection {
  client: net.Socket;
  server: net.Socket;
  /** When something was last sent, milliseconds of the monotonic clock. */
  active: number;
}

export class Balancer {
  readonly address: string;
  private readonly scope = new Scope();
  private readonly backends = new Map<string, Backend>();
  private readonly listeners: net.Server[] = [];
  private turn = 0;
  private isDeaf = false;

  /** @param address `127.40.0.5` */
  constructor(address: string) {
    this.address = address;
  }

  /** `https://127.40.0.5:6443` */
  get api(): string {
    return `https://${this.address}:6443`;
  }

  /** @throws UserError when a port is taken */
  async listen(): Promise<void> {
    for (const port of ports) {
      const server = net.createServer({ noDelay: true }, (client) => this.accept(client, port));
      await new Promise<void>((resolve, reject) => {
        server.once("error", (error: NodeJS.ErrnoException) => reject(taken(`${this.address}:${port}`, error)));
        server.listen(port, this.address, resolve);
      });
      this.listeners.push(server);
    }
  }

  /** While true, every connection is cut, existing and new. */
  set deaf(deaf: boolean) {
    this.isDeaf = deaf;
    if (!deaf) return;
    for (const { connections } of this.backends.values()) for (const connection of connections) cut(connection);
  }

  /**
   * Adds a server that is ready: it gets connections from now on.
   * @param client what its health is asked with
   */
  add(address: string, client: Partial<ClientCertificate> = {}): void {
    void this.backends.get(address)?.scope.end();
    const scope = new Scope(this.scope);
    const backend: Backend = { address, client, failures: 0, draining: false, connections: new Set(), scope };
    this.backends.set(address, backend);
    scope.defer(() => {
      for (const connection of backend.connections) cut(connection);
    });
    scope.run(() => this.check(backend));
  }

  /**
   * Drains a server that is about to leave: it gets no new connections, and its quiet ones are ended.
   * Resolves when none is left.
   */
  async drain(address: string): Promise<void> {
    const backend = this.backends.get(address);
    if (!backend) return;
    backend.draining = true;
    const end = performance.now() + drainPatience;
    while (backend.connections.size > 0 && performance.now() < end) {
      for (const connection of backend.connections) {
        if (performance.now() - connection.active > quiet) connection.client.end();
      }
      await delay(20);
    }
    await this.remove(address);
  }

  /** Removes a server that has stopped; its connections are cut. */
  async remove(address: string): Promise<void> {
    const backend = this.backends.get(address);
    this.backends.delete(address);
    await backend?.scope.end();
  }

  /** Addresses that get connections now. */
  get ready(): string[] {
    return this.choices().map(({ address }) => address);
  }

  async close(): Promise<void> {
    await this.scope.end();
    await Promise.all(this.listeners.map((server) => new Promise((resolve) => server.close(resolve))));
  }

  private choices(): Backend[] {
    const open = [...this.backends.values()].filter(({ draining }) => !draining);
    const healthy = open.filter(({ failures }) => failures < strikes);
    // When every check fails, a fault of the checks is more likely than a fault of every server.
    return healthy.length > 0 ? healthy : open;
  }

  private accept(client: net.Socket, port: number): void {
    client.on("error", () => client.destroy());
    if (this.isDeaf) return void client.destroy();
    const choices = this.choices();
    const first = this.turn++ % Math.max(1, choices.length);
    this.dial(client, port, [...choices.slice(first), ...choices.slice(0, first)]);
  }

  private dial(client: net.Socket, port: number, [backend, ...others]: Backend[]): void {
    if (!backend || client.destroyed) return void client.destroy();
    const server = net.connect({ host: backend.address, port, localAddress: this.address, noDelay: true });
    const failed = () => this.dial(client, port, others);
    server.once("error", failed);
    server.once("connect", () => {
      server.off("error", failed);
      if (backend.scope.over || client.destroyed) {
        server.destroy();
        return void client.destroy();
      }
      join(backend, { client, server, active: performance.now() });
    });
  }

  private async check(backend: Backend): Promise<void> {
    while (!backend.scope.over) {
      await backend.scope.wait(checkEvery);
      const failed = backend.failures;
      backend.failures = (await apiReady(backend.address, backend.client)) ? 0 : failed + 1;
      if (backend.failures === strikes) for (const connection of backend.connections) cut(connection);
    }
  }
}

function join(backend: Backend, connection: Connection): void {
  const { client, server } = connection;
  backend.connections.add(connection);
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    from.on("data", () => (connection.active = performance.now()));
    from.pipe(to);
    from.on("error", () => from.destroy());
    from.on("close", () => {
      // What was received before an orderly end is still passed on.
      if (from.readableEnded) to.destroySoon();
      else to.destroy();
      backend.connections.delete(connection);
    });
  }
}

function cut({ client, server }: Connection): void {
  client.destroy();
  server.destroy();
}

/**
 * Whether the API server of a host is ready. It verifies no certificate, since the balancer only passes bytes on.
 * @param client credentials that it asks with: RKE2 tells nobody else
 */
export async function apiReady(host: string, client: Partial<ClientCertificate> = {}): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { ...client, host, port: 6443, path: "/readyz", agent: false, rejectUnauthorized: false };
    const request = https.get({ ...options, signal: AbortSignal.timeout(checkPatience) }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on("error", () => resolve(false));
  });
}

/** The error for a port of the lab that cannot be opened. */
export function taken(where: string, error: NodeJS.ErrnoException): Error {
  if (error.code !== "EADDRINUSE") return error;
  return new UserError({
    what: "a port of the lab is taken by another process",
    where,
    todo: "end that process, or start the lab with another prefix",
  });
}
