import type { IncomingMessage } from "node:http";

/** What a request carried in its body. */
export interface Body {
  params: [string, string][];
  upload?: { filename: string; content: Buffer };
}

async function bytes(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function fromJson(text: string): [string, string][] {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null) return [];
  return Object.entries(parsed).map(([name, value]) => [
    name,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
}

/** Takes multipart/form-data apart: plain fields, and the one file. */
function fromMultipart(content: Buffer, boundary: string): Body {
  const body: Body = { params: [] };
  const mark = Buffer.from(`--${boundary}`);
  let at = content.indexOf(mark);
  while (at >= 0) {
    const next = content.indexOf(mark, at + mark.length);
    if (next < 0) break;
    const part = content.subarray(at + mark.length + 2, next - 2);
    const split = part.indexOf("\r\n\r\n");
    const headers = part.subarray(0, split).toString();
    const value = part.subarray(split + 4);
    const name = /[; ]name="([^"]*)"/.exec(headers)?.[1] ?? "";
    const filename = /filename="([^"]*)"/.exec(headers)?.[1];
    if (filename === undefined) body.params.push([name, value.toString()]);
    else {
      body.params.push([name, filename]);
      body.upload = { filename, content: Buffer.from(value) };
    }
    at = next;
  }
  return body;
}

/** Reads a form, JSON or multipart body. */
export async function readBody(message: IncomingMessage): Promise<Body> {
  const content = await bytes(message);
  const type = message.headers["content-type"] ?? "";
  if (content.length === 0) return { params: [] };
  const boundary = /^multipart\/form-data;.*boundary="?([^";]+)"?/.exec(type)?.[1];
  if (boundary !== undefined) return fromMultipart(content, boundary);
  if (type.startsWith("application/json")) return { params: fromJson(content.toString()) };
  return { params: [...new URLSearchParams(content.toString())] };
}
