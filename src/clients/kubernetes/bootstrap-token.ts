import { createHash, randomInt } from "node:crypto";
import { hide } from "../../runtime/log.ts";
import type { Kubernetes } from "./client.ts";
import { paths } from "./types.ts";

/** A short-lived token with which a single agent may join. */
export interface BootstrapToken {
  id: string;
  /** `K10<hash of the CA>::<id>.<secret>`: the node verifies the cluster by the hash before it sends anything. */
  token: string;
}

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
const random = (length: number) => Array.from({ length }, () => alphabet.charAt(randomInt(alphabet.length))).join("");
/** The name of its Secret. */
export const tokenName = ({ id }: Pick<BootstrapToken, "id">): string => `bootstrap-token-${id}`;
const pathOf = (token: Pick<BootstrapToken, "id">) => `${paths.systemSecrets}/${tokenName(token)}`;

/**
 * Creates a token for one node, valid for `seconds`.
 * @param ca the cluster's CA, PEM, exactly as the servers serve it
 */
export async function mintToken(
  client: Kubernetes,
  ca: string,
  node: string,
  seconds: number,
): Promise<BootstrapToken> {
  const id = random(6);
  const secret = random(16);
  hide(secret);
  await client.create(paths.systemSecrets, {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: tokenName({ id }), labels: { "app.kubernetes.io/managed-by": "evergreen" } },
    type: "bootstrap.kubernetes.io/token",
    stringData: {
      "token-id": id,
      "token-secret": secret,
      description: `join of ${node}`,
      expiration: new Date(client.now().getTime() + seconds * 1000).toISOString().replace(/\.\d+Z$/, "Z"),
      "usage-bootstrap-authentication": "true",
      "auth-extra-groups": "system:bootstrappers:rke2:default-node-token",
    },
  });
  const hash = createHash("sha256").update(ca).digest("hex");
  return { id, token: `K10${hash}::${id}.${secret}` };
}

export async function deleteToken(client: Kubernetes, token: BootstrapToken): Promise<void> {
  await client.delete(pathOf(token));
}

/** Whether somebody else has deleted the token, as a policy that tidies up Secrets. False while the API is silent. */
export async function isTokenGone(client: Kubernetes, token: BootstrapToken): Promise<boolean> {
  return await client.find(pathOf(token)).then(
    (found) => found === undefined,
    () => false,
  );
}
