/** The join data that an image's path unit acts on: a fragment of RKE2's configuration and a marker with its hash. */
import { createHash } from "node:crypto";
import { parse } from "yaml";
import type { GuestFiles } from "./files.ts";

export const paths = {
  joinData: "/etc/evergreen/join.yaml",
  marker: "/etc/evergreen/join.ready",
  joinLog: "/var/log/evergreen/join.log",
  yield: "/etc/evergreen/yield",
  yielded: "/etc/evergreen/yielded",
  registries: "/etc/evergreen/registries.yaml",
  reload: "/etc/evergreen/registries.reload",
  loaded: "/etc/evergreen/registries.loaded",
  failed: "/etc/evergreen/registries.failed",
  fragment: "/etc/rancher/rke2/config.yaml.d/90-evergreen.yaml",
  nodePassword: "/etc/rancher/node/password",
  kubeconfig: "/etc/rancher/rke2/rke2.yaml",
  serverToken: "/var/lib/rancher/rke2/server/token",
  kubeletCertificate: "/var/lib/rancher/rke2/agent/client-kubelet.crt",
  kubeletKey: "/var/lib/rancher/rke2/agent/client-kubelet.key",
  serverCa: "/var/lib/rancher/rke2/agent/server-ca.crt",
} as const;

export type Role = "server" | "agent";

/** RKE2's configuration as far as the lab reads it. */
export interface Fragment {
  /** `https://<registration address>:9345`; undefined: this is the bootstrap server. */
  server: string | undefined;
  token: string | undefined;
  nodeName: string;
  /** key to value */
  labels: Record<string, string>;
  taints: Taint[];
  /** Additional names and addresses of the API server. */
  tlsSan: string[];
  /** The node's addresses; empty: RKE2 finds them. */
  nodeIp: string[];
  /** Networks of pods and of services, as a server's configuration has them. */
  ranges: Ranges;
  /** File with the configuration of private registries; undefined: RKE2's default. */
  privateRegistry: string | undefined;
  /** The whole of it as RKE2 says it on the Node, in `rke2.io/node-args`: secrets are left out. */
  args: string[];
}

/** Networks of a cluster, one of each family. */
export interface Ranges {
  pods: string[];
  services: string[];
}

export interface Taint {
  key: string;
  value?: string;
  effect: string;
}

/** What the marker requests. */
export type Order =
  | { kind: "none" }
  | { kind: "wipe" }
  | { kind: "refused"; why: string }
  | { kind: "start"; role: Role; fragment: Fragment; text: string };

/** Reads marker and join data as the path unit does. */
export function readOrder(files: GuestFiles, hostname: string): Order {
  const marker = files.get(paths.marker)?.toString();
  if (marker === undefined) return { kind: "none" };
  if (marker.trim() === "") return { kind: "wipe" };
  const found = /^(server|agent) ([0-9a-f]{64})\s*$/.exec(marker);
  if (!found) return { kind: "refused", why: "join.ready is not `<server|agent> <sha256 of join.yaml>`" };
  const data = files.get(paths.joinData);
  if (!data) return { kind: "refused", why: "join.yaml is missing" };
  if (createHash("sha256").update(data).digest("hex") !== found[2]) {
    return { kind: "refused", why: "join.yaml does not have the hash that join.ready names" };
  }
  const text = data.toString();
  try {
    return { kind: "start", role: found[1] as Role, fragment: parseFragment(text, found[1] as Role, hostname), text };
  } catch (error) {
    return { kind: "refused", why: `join.yaml: ${error instanceof Error ? error.message : String(error)}` };
  }
}

function parseFragment(text: string, role: Role, hostname: string): Fragment {
  const config = (parse(text) ?? {}) as Record<string, unknown>;
  const one = (key: string) => (typeof config[key] === "string" ? config[key] : undefined);
  const many = (key: string) => [config[key] ?? []].flat().map(String);
  const labels = many("node-label").map((label) => label.split("=", 2));
  return {
    server: one("server"),
    token: one("token"),
    nodeName: one("node-name") ?? hostname,
    labels: Object.fromEntries(labels.map(([key = "", value = ""]) => [key, value])),
    taints: many("node-taint").map(parseTaint),
    tlsSan: many("tls-san"),
    nodeIp: many("node-ip").flatMap((text) => text.split(",")),
    ranges: {
      pods: many("cluster-cidr").flatMap((text) => text.split(",")),
      services: many("service-cidr").flatMap((text) => text.split(",")),
    },
    privateRegistry: one("private-registry"),
    args: [role, ...Object.keys(config).flatMap((key) => many(key).flatMap((value) => argumentOf(key, value)))],
  };
}

function argumentOf(key: string, value: string): string[] {
  return [`--${key.replace(/\+$/, "")}`, key.includes("token") ? "********" : value];
}

/** `key=value:effect` or `key:effect` */
function parseTaint(text: string): Taint {
  const found = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(text);
  if (!found?.[1] || !found[3]) throw new Error(`node-taint: invalid taint spec ${text}`);
  return { key: found[1], ...(found[2] === undefined ? {} : { value: found[2] }), effect: found[3] };
}

/** The parts of a token: the hash of the cluster's CA, and the credential. */
export interface Token {
  caHash: string | undefined;
  credential: { kind: "password"; user: string; password: string } | { kind: "bootstrap"; token: string };
}

/** `K10<hash>::<user>:<password>`, `K10<hash>::<id>.<secret>`, or either without its first part. */
export function parseToken(text: string): Token {
  const secure = /^K10([0-9a-f]{64})::(.+)$/.exec(text);
  if (!secure && text.startsWith("K10")) throw new Error("invalid token CA hash length");
  const rest = secure?.[2] ?? text;
  const caHash = secure?.[1];
  if (/^[a-z0-9]{6}\.[a-z0-9]{16}$/.test(rest)) return { caHash, credential: { kind: "bootstrap", token: rest } };
  const colon = rest.indexOf(":");
  const [user, password] = colon < 0 ? ["", rest] : [rest.slice(0, colon), rest.slice(colon + 1)];
  return { caHash, credential: { kind: "password", user, password } };
}
