import { Agent, Pool, ProxyAgent, type Dispatcher } from "undici";
import { proxyOf } from "./proxy.ts";

type Connect = (options: Agent.Options) => Dispatcher;

/** How long a proxy may take to reach a host, in milliseconds. */
const tunnelMs = 10_000;

/** Connects to each host through the proxy that the environment names for it, or directly. */
const sockets: Connect = (options) =>
  new Agent({
    ...options,
    factory: (origin, own) => {
      const proxy = proxyOf(new URL(origin));
      return proxy === undefined ? new Pool(origin, own) : tunnel(proxy, options);
    },
  });

function tunnel(proxy: URL, { connect, ...options }: Agent.Options): Dispatcher {
  return new ProxyAgent({
    ...options,
    uri: proxy.href,
    proxyTunnel: true,
    connectTimeout: tunnelMs,
    clientFactory: (to, how) => new Pool(to, { ...how, headersTimeout: tunnelMs, bodyTimeout: tunnelMs }),
    // The certificates are those of the host behind the proxy.
    ...(typeof connect === "object" && { requestTls: connect }),
  });
}

/** Makes the dispatcher of an API client. There is a single factory, so that a simulation can replace it. */
export let connections = sockets;

/** Makes new clients send their requests through other dispatchers. */
export function useConnections(other: Connect = sockets): void {
  connections = other;
}
