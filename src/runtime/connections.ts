import { Agent, type Dispatcher } from "undici";

type Connect = (options: Agent.Options) => Dispatcher;

const sockets: Connect = (options) => new Agent(options);

/** Makes the dispatcher of an API client. There is a single factory, so that a simulation can replace it. */
export let connections = sockets;

/** Makes new clients send their requests through other dispatchers. */
export function useConnections(other: Connect = sockets): void {
  connections = other;
}
