/** JSON over HTTP on a unix socket that only the lab's owner can open. */
import { once } from "node:events";
import { chmodSync, rmSync } from "node:fs";
import http from "node:http";
import { text } from "node:stream/consumers";
import { messageOf, UserError } from "../src/runtime/errors.ts";
import type { ControlCalls, ControlName } from "./control.ts";

export type ControlHandlers = {
  [Name in ControlName]: (
    body: ControlCalls[Name]["body"],
    query: URLSearchParams,
  ) => ControlCalls[Name]["answer"] | Promise<ControlCalls[Name]["answer"]>;
};

export async function serveControl(socket: string, handlers: ControlHandlers): Promise<http.Server> {
  rmSync(socket, { force: true });
  const server = http.createServer((request, response) => {
    void answer(request, handlers).then(({ status, body }) => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
  });
  server.listen(socket);
  await once(server, "listening");
  chmodSync(socket, 0o600);
  return server;
}

async function answer(
  request: http.IncomingMessage,
  handlers: ControlHandlers,
): Promise<{ status: number; body: unknown }> {
  const url = new URL(request.url ?? "/", "http://lab");
  const name = `${request.method ?? ""} ${url.pathname}`;
  if (!isName(name, handlers)) return { status: 404, body: { what: `the lab has no control ${name}` } };
  const handler = handlers[name] as (body: unknown, query: URLSearchParams) => unknown;
  try {
    const sent = await text(request);
    return { status: 200, body: await handler(sent === "" ? undefined : JSON.parse(sent), url.searchParams) };
  } catch (error) {
    if (error instanceof UserError) return { status: 422, body: error.problem };
    const trace = error instanceof Error ? error.stack : undefined;
    return { status: 500, body: { what: messageOf(error), trace } };
  }
}

const isName = (name: string, handlers: ControlHandlers): name is ControlName => Object.hasOwn(handlers, name);
