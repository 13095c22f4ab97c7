import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Proxmox } from "../../../src/clients/proxmox/client.ts";

/** One request as the fake server saw it. */
export interface Seen {
  method: string;
  path: string;
  parameters: Record<string, string>;
  /** Every value of the parameters that come more than once; absent: none does. */
  lists?: Record<string, string[]>;
  authorization: string | undefined;
}

/** What the fake answers: data, a refusal with its reason phrase, or a broken connection. */
export type Answer =
  { data: unknown } | { status: number; reason: string; errors?: Record<string, string> } | { raw: string } | "hang up";

export interface FakeProxmox extends AsyncDisposable {
  client: Proxmox;
  seen: Seen[];
}

/** A Proxmox that answers what `answer` says; the paths are below `/api2/json`. */
export async function fakeProxmox(answer: (seen: Seen, count: number) => Answer): Promise<FakeProxmox> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    void readRequest(request).then((one) => {
      const before = seen.filter(({ method, path }) => method === one.method && path === one.path).length;
      seen.push(one);
      send(response, answer(one, before + 1));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const client = new Proxmox({ endpoint: `http://127.0.0.1:${port}`, token: "eg@pve!test=0-0", retryMs: 1 });
  return {
    client,
    seen,
    async [Symbol.asyncDispose]() {
      await client.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function readRequest(request: IncomingMessage): Promise<Seen> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const url = new URL(request.url ?? "/", "http://fake");
  const form = new URLSearchParams(Buffer.concat(chunks).toString());
  const lists = [...new Set(form.keys())]
    .map((name) => [name, form.getAll(name)] as const)
    .filter(([, all]) => all.length > 1);
  return {
    method: request.method ?? "",
    path: decodeURIComponent(url.pathname.replace("/api2/json", "")),
    parameters: { ...Object.fromEntries(url.searchParams), ...Object.fromEntries(form) },
    ...(lists.length > 0 && { lists: Object.fromEntries(lists) }),
    authorization: request.headers.authorization,
  };
}

function send(response: ServerResponse, answer: Answer): void {
  if (answer === "hang up") response.destroy();
  else if ("raw" in answer) response.end(answer.raw);
  else if ("data" in answer) response.end(JSON.stringify({ data: answer.data }));
  else {
    response.writeHead(answer.status, answer.reason);
    response.end(JSON.stringify({ data: null, message: `${answer.reason}\n`, errors: answer.errors }));
  }
}

/** A task id as Proxmox makes it. */
export const upid = "UPID:pve1:0000C350:000D5A71:6B0124F9:qmstart:101:eg@pve!test:";
