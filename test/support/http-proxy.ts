import http from "node:http";
import net, { type AddressInfo } from "node:net";

/** An HTTP proxy on loopback that leads every host to one port of this machine. */
export class HttpProxy {
  /** The hosts that it was asked for. */
  readonly tunnels: string[] = [];
  /** Whether it asks for a password instead. */
  refuses = false;
  private readonly server = http.createServer();

  constructor(port: number) {
    this.server.on("connect", ({ url = "" }: http.IncomingMessage, client: net.Socket) => {
      this.tunnels.push(url);
      if (this.refuses) return void client.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
      const server = net.connect(port, "127.0.0.1", () => client.write("HTTP/1.1 200 OK\r\n\r\n"));
      server.pipe(client).pipe(server);
      server.on("error", () => client.destroy());
      client.on("error", () => server.destroy());
    });
  }

  /** @returns its URL */
  async start(): Promise<string> {
    return `http://127.0.0.1:${await listen(this.server)}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** @returns the port */
export async function listen(server: http.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

/** Sets the variables of proxies. @returns what sets them as they were */
export function setProxies(settings: Record<string, string>): () => void {
  const before = Object.keys(settings).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, settings);
  return () => {
    for (const [name, value] of before)
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
  };
}
