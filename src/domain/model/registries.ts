import { createHash } from "node:crypto";
import { stringify } from "yaml";

/** A registry that images are pulled through. */
export interface Mirror {
  endpoint?: string[];
  /** Pattern of a repository to what takes its place. */
  rewrite?: Record<string, string>;
}

/** How a registry is spoken to. */
export interface RegistryConfig {
  auth?: { username?: string; password?: string; auth?: string; identity_token?: string };
  tls?: {
    /** Certificates of authorities, PEM. Evergreen writes them into a file of the node. */
    ca?: string;
    cert?: string;
    key?: string;
    /** Files that the image has. */
    ca_file?: string;
    cert_file?: string;
    key_file?: string;
    insecure_skip_verify?: boolean;
  };
}

/** The registries of a cluster, as they are configured: RKE2's registries.yaml, with PEM texts in place of files. */
export interface Registries {
  mirrors?: Record<string, Mirror>;
  configs?: Record<string, RegistryConfig>;
}

/** What a node gets of it. */
export interface RegistryFiles {
  /** Certificates and keys, to be written first. Named by their content, so that none ever changes. */
  pems: { path: string; content: string }[];
  /** RKE2's registries.yaml. */
  yaml: string;
  /** Names the whole content. It stays in the guest: who knows it could try passwords. */
  digest: string;
  /** Files that the image has to have. */
  expected: string[];
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Bytes that a file may have which is written into a guest: Proxmox accepts 61,440 characters, of base64. */
export const largestRegistryFile = 45 * 1024;

/** @param pemPath how the paths of certificates and keys in the node begin */
export function registryFiles({ mirrors = {}, configs = {} }: Registries, pemPath: string): RegistryFiles {
  const pems = new Map<string, string>();
  const expected = new Set<string>();
  const fileOf = (text: string | undefined, path: string | undefined): string | undefined => {
    if (text === undefined) {
      if (path !== undefined) expected.add(path);
      return path;
    }
    const content = `${text.trim()}\n`;
    const named = `${pemPath}${sha256(content).slice(0, 16)}.pem`;
    pems.set(named, content);
    return named;
  };
  const written = Object.entries(configs).map(([host, { auth, tls }]) => {
    const { ca, cert, key, ca_file, cert_file, key_file, ...more } = tls ?? {};
    const files = {
      ca_file: fileOf(ca, ca_file),
      cert_file: fileOf(cert, cert_file),
      key_file: fileOf(key, key_file),
    };
    return [host, { ...(auth && { auth }), ...(tls && { tls: { ...defined(files), ...more } }) }];
  });
  const yaml = stringify({ mirrors, configs: Object.fromEntries(written) as object }, { lineWidth: 0 });
  return {
    pems: [...pems].map(([path, content]) => ({ path, content })),
    yaml,
    digest: sha256(yaml),
    expected: [...expected],
  };
}

function defined(values: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/** The values that must never be shown. */
export function registrySecrets({ configs = {} }: Registries): string[] {
  return Object.values(configs).flatMap(({ auth, tls }) => [
    ...[auth?.password, auth?.auth, auth?.identity_token].flatMap((value) => value ?? []),
    ...(tls?.key === undefined ? [] : [tls.key.trim()]),
  ]);
}
