/** Reads the bodies of requests as pveproxy does. */
import type { IncomingMessage } from "node:http";
import { ApiError } from "./answer.ts";
import { fromForm, fromJson } from "./form.ts";
import type { Given } from "./form.ts";

/** The content of a request's body. */
export interface Body {
  params: Given;
  upload?: { filename: string; content: Buffer };
}

async function bytes(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The boundary of a multipart body; undefined when it is not multipart. */
export function boundaryOf(type: string): string | undefined {
  return /^multipart\/form-data;.*boundary="?([^";]+)"?/.exec(type)?.[1];
}

/** The fields of an upload, in the only order in which pveproxy reads them. */
const fields = ["content", "checksum-algorithm", "checksum"];

const wrongField = (name: string) =>
  `wrong field name '${name}' for file upload, expected 'filename' at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 1281.`;

/**
 * Parses an upload: fields in their order, then the one file; the rest is ignored.
 * @throws ApiError for anything else, since pveproxy waits for the file until the body ends
 */
function fromMultipart(content: Buffer, boundary: string): Body {
  const params: Given = new Map();
  let last = -1;
  for (const { name, filename, value } of partsOf(content, boundary)) {
    if (filename !== undefined) {
      if (name !== "filename") throw new ApiError(500, wrongField(name), { bodyless: true });
      params.set(name, [filename]);
      return { params, upload: { filename, content: Buffer.from(value) } };
    }
    const place = fields.indexOf(name);
    if (place <= last) break;
    last = place;
    params.set(name, [value.toString()]);
  }
  throw new ApiError(400, "Bad Request", { bodyless: true });
}

function* partsOf(content: Buffer, boundary: string) {
  const mark = Buffer.from(`--${boundary}`);
  let at = content.indexOf(mark);
  while (at >= 0) {
    const next = content.indexOf(mark, at + mark.length);
    if (next < 0) return;
    const part = content.subarray(at + mark.length + 2, next - 2);
    const split = part.indexOf("\r\n\r\n");
    const headers = part.subarray(0, split).toString();
    yield {
      name: /[; ]name="([^"]*)"/.exec(headers)?.[1] ?? "",
      filename: /filename="([^"]*)"/.exec(headers)?.[1],
      value: part.subarray(split + 4),
    };
    at = next;
  }
}

/** Reads a form, JSON or multipart body. */
export async function readBody(message: IncomingMessage): Promise<Body> {
  const content = await bytes(message);
  const type = message.headers["content-type"] ?? "";
  if (content.length === 0) return { params: new Map() };
  const boundary = boundaryOf(type);
  if (boundary !== undefined) return fromMultipart(content, boundary);
  return { params: type.startsWith("application/json") ? fromJson(content.toString()) : fromForm(content.toString()) };
}
