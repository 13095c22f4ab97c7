import { createHash } from "node:crypto";
import { UserError } from "../../runtime/errors.ts";
import { hide } from "../../runtime/log.ts";
import { guest } from "../../../images/contract.ts";
import { readFile, withAgent } from "../proxmox/agent.ts";
import type { Proxmox } from "../proxmox/client.ts";
import type { ListedVm } from "../proxmox/vms.ts";

/** The token of the servers. It grants administration of the cluster, and is hidden from every log. */
export interface ServerToken {
  /** As RKE2 stores it, and as a joining server needs it. */
  text: string;
  /** The secret part. */
  password: string;
}

/**
 * Reads the token through the guest agent of a server.
 * @throws UserError when the content of the file is not a server token
 */
export async function readServerToken(pve: Proxmox, server: ListedVm): Promise<ServerToken> {
  const read = () => readFile(pve, server, guest.serverToken);
  const text = (await withAgent(server.name ?? String(server.vmid), undefined, read)).toString().trim();
  hide(text);
  // K10<hash of the CA>::server:<password>, or the password alone (k3s, pkg/clientaccess).
  const password = /^(?:K10[0-9a-f]{64}::)?(?:server:)?(\S+)$/.exec(text)?.[1];
  if (password === undefined)
    throw new UserError({
      what: "the server token has a form that is not understood",
      where: `${guest.serverToken} on ${server.name ?? server.vmid}`,
      todo: "look at that file on the server: RKE2 writes K10<hash>::server:<password> into it",
    });
  hide(password);
  return { text, password };
}

/** The header by which RKE2's supervisor knows a server. */
export function authorizationOf({ password }: ServerToken): string {
  const credentials = Buffer.from(`server:${password}`).toString("base64");
  hide(credentials);
  return `Basic ${credentials}`;
}

/** RKE2's hash of the token, which marks what is encrypted with it (k3s, pkg/util/token.go: GetTokenHash). */
export function tokenHash({ password }: ServerToken): string {
  return createHash("sha256").update(password).digest("hex").slice(0, 12);
}
