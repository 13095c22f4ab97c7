/** RKE2's protection of node names: the first node that uses a name sets a password, which is kept as a Secret. */
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import type { Kube, KubeObject } from "../kube.ts";

const namespace = "/api/v1/namespaces/kube-system/secrets";
const cost = 15;

interface Secret extends KubeObject {
  data?: Record<string, string>;
}

export class NodePasswordRejected extends Error {
  override readonly name = "NodePasswordRejected";
}

const derive = promisify((password: string, salt: string, keep: (error: Error | null, key: Buffer) => void) =>
  scrypt(password, salt, 64, { N: 2 ** cost, r: 8, p: 1, maxmem: 2 ** 26 }, keep),
);

async function hash(password: string, salt = randomBytes(8).toString("hex")): Promise<string> {
  const key = await derive(password, salt);
  return `$1:${salt}:${cost}:8:1:${key.toString("base64").replace(/=+$/, "")}`;
}

async function matches(password: string, stored: string): Promise<boolean> {
  const salt = stored.split(":")[1] ?? "";
  const [given, wanted] = [Buffer.from(await hash(password, salt)), Buffer.from(stored)];
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

export const secretName = (node: string): string => `${node}.node-password.rke2`;

/**
 * Checks a node's password, or stores it when the name is new.
 * @throws NodePasswordRejected when another machine has that name
 */
export async function ensureNodePassword(kube: Kube, node: string, password: string): Promise<void> {
  const name = secretName(node);
  const found = await kube.call<Secret>("GET", `${namespace}/${name}`);
  if (found.status === 200) {
    const stored = Buffer.from(found.body.data?.hash ?? "", "base64").toString();
    if (await matches(password, stored)) return;
    throw new NodePasswordRejected(`unable to verify password for node ${node}: hash does not match`);
  }
  if (found.status !== 404) throw new Error(`secret ${name}: ${found.status}`);
  const made = await kube.call("POST", namespace, {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name },
    type: "Opaque",
    immutable: true,
    data: { hash: Buffer.from(await hash(password)).toString("base64") },
  });
  // Another request for the same node may have been faster: the password that it stored decides.
  if (made.status === 409) return ensureNodePassword(kube, node, password);
  if (made.status !== 201) throw new Error(`secret ${name}: ${made.status}`);
}
