import { Agent, type Dispatcher } from "undici";

type Connect = (options: Agent.Options) => Dispatcher;

const sockets: Connect = (options) => new Agent(options);

/** Where the requests of an API client go. There is one way, so that a simulation can replace it. */
export let connections = sockets;

/** From now on new clients send their requests elsewhere. */
export function useConnections(other: Connect = sockets): void {
  connections = other;
}
