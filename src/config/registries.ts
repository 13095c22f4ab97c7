import { parse, YAMLParseError } from "yaml";
import { hide } from "../runtime/log.ts";
import { UserErrors, type Problem } from "../runtime/errors.ts";
import { largestRegistryFile, registryFiles, registrySecrets } from "../domain/model/registries.ts";
import type { Config } from "./schema.ts";

const where = "evergreen:registries";

/**
 * The registries as a map. As one secret, the whole of RKE2's registries.yaml is text (`pulumi config set --secret`).
 * @throws UserErrors when it is no YAML, without a word of it
 */
export function parseRegistries(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return parse(value, { logLevel: "error" }) ?? {};
  } catch (error) {
    const line = error instanceof YAMLParseError ? error.linePos?.[0].line : undefined;
    throw new UserErrors([
      {
        what: `the registries are no YAML${line === undefined ? "" : `: line ${line} cannot be read`}`,
        where,
        todo: "give it the content of an RKE2 registries.yaml",
      },
    ]);
  }
}

/** Checks of the registries that concern more than one value. Their values are never part of a message. */
export function registryProblems({ registries, controlPlane, pools }: Config): Problem[] {
  if (registries === undefined) return [];
  for (const secret of registrySecrets(registries)) hide(secret);
  const owners = [
    { path: "evergreen:controlPlane", config: controlPlane.config },
    ...pools.map(({ config }, i) => ({ path: `evergreen:pools[${i}]`, config })),
  ];
  return [
    ...Object.entries(registries.configs ?? {}).flatMap(([host, { auth, tls }]) => [
      ...authProblems(auth).map((problem) => ({ ...problem, where: `${where}.configs.${host}.auth` })),
      ...tlsProblems(tls).map((problem) => ({ ...problem, where: `${where}.configs.${host}.tls` })),
    ]),
    ...owners
      .filter(({ config }) => Object.keys(config).some((key) => /^private-registry\+?$/i.test(key.trim())))
      .map(({ path }) => ({
        what: "private-registry names another registries.yaml than that of evergreen:registries",
        where: `${path}.config.private-registry`,
        todo: "remove it, or remove evergreen:registries and keep the file in the image",
      })),
    ...tooLarge(registries),
  ];
}

type RegistryConfig = NonNullable<NonNullable<Config["registries"]>["configs"]>[string];
type Found = Omit<Problem, "where">;

function authProblems(auth: RegistryConfig["auth"]): Found[] {
  if (auth === undefined) return [];
  const { username, password, auth: both, identity_token: token } = auth;
  const ways = [username ?? password, both, token].filter((one) => one !== undefined);
  if (ways.length === 1 && (username === undefined) === (password === undefined)) return [];
  return [
    {
      what: "these credentials are not one way to log in",
      todo: "give it username and password, or auth, or identity_token",
    },
  ];
}

function tlsProblems(tls: RegistryConfig["tls"]): Found[] {
  if (tls === undefined) return [];
  const { ca, ca_file, cert, cert_file, key, key_file } = tls;
  const pairs = [
    ["ca", ca, ca_file],
    ["cert", cert, cert_file],
    ["key", key, key_file],
  ] as const;
  const twice = pairs.filter(([, text, file]) => text !== undefined && file !== undefined);
  const isHalf = ((cert ?? cert_file) === undefined) !== ((key ?? key_file) === undefined);
  return [
    ...twice.map(([name]) => ({
      what: `${name} and ${name}_file are both set`,
      todo: `keep ${name} for a text that Evergreen brings, or ${name}_file for a file of the image`,
    })),
    ...(isHalf ? [{ what: "a client certificate needs its key, and a key its certificate", todo: "set both" }] : []),
  ];
}

/** Linux starts no process with an environment variable of 128 KiB. */
const largestVariable = 120 * 1024;

function tooLarge(registries: NonNullable<Config["registries"]>): Problem[] {
  const { yaml, pems } = registryFiles(registries, "");
  const sizes = [yaml, ...pems.map(({ content }) => content)].map((text) => Buffer.byteLength(text));
  const todo = "leave out what no node needs, or put certificates into the image and name them with ca_file";
  const all = Buffer.byteLength(JSON.stringify(registries));
  if (all > largestVariable)
    return [
      {
        what: `the registries are too large: ${all} bytes, and a step is told at most ${largestVariable}`,
        where,
        todo,
      },
    ];
  if (Math.max(...sizes) <= largestRegistryFile) return [];
  return [
    {
      what: `the registries are too large: a file of ${Math.max(...sizes)} bytes, and Proxmox writes at most ${largestRegistryFile} into a guest`,
      where,
      todo,
    },
  ];
}

/**
 * Refuses credentials that stand in the stack's file for everybody to read.
 * @param environment the program's: the engine names there the keys that it keeps as secrets, as a whole or in part
 */
export function requireSecretRegistries({ registries }: Config, environment: NodeJS.ProcessEnv): void {
  const secret = JSON.parse(environment.PULUMI_CONFIG_SECRET_KEYS ?? "[]") as string[];
  if (registries === undefined || secret.includes(where) || registrySecrets(registries).length === 0) return;
  throw new UserErrors([
    {
      what: "the registries have credentials in clear",
      where,
      todo: "keep the whole as a secret: pulumi config set --secret evergreen:registries < registries.yaml; or each password: pulumi config set --secret --path 'evergreen:registries.configs[\"HOST\"].auth.password'",
    },
  ]);
}
