/** Checks the SSH public keys of cloud-init. */
import { died } from "../answer.ts";

/** Reads the length-prefixed fields of a public key; undefined when they do not fill it exactly. */
function fieldsOf(blob: Buffer): Buffer[] | undefined {
  const fields: Buffer[] = [];
  let at = 0;
  while (at < blob.length) {
    if (at + 4 > blob.length) return undefined;
    const end = at + 4 + blob.readUInt32BE(at);
    if (end > blob.length) return undefined;
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  return fields;
}

function isPublicKey(line: string): boolean {
  const [, type = "", data = ""] = /(?:^|\s)((?:ssh|ecdsa|sk)-[\w@.-]+)\s+(\S+)/.exec(line) ?? [];
  const fields = fieldsOf(Buffer.from(data, "base64"));
  return fields !== undefined && fields.length > 1 && fields[0]?.toString() === type;
}

/** @throws ApiError when a line of the url-encoded keys is not an SSH public key */
export function checkSshKeys(value: string): void {
  const lines = decodeURIComponent(value).split("\n");
  for (const line of lines) {
    if (line.trim() !== "" && !line.startsWith("#") && !isPublicKey(line))
      throw died("SSH public key validation error");
  }
}
