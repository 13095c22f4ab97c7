import { parse } from "yaml";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { hide } from "../../runtime/log.ts";

/** How a cluster is reached: with a client certificate, trusting the cluster's own CA. All PEM. */
export interface Kubeconfig {
  /** `https://host:6443` */
  server: string;
  ca: string;
  cert: string;
  key: string;
}

interface Document {
  "current-context"?: string;
  contexts?: { name: string; context: { cluster: string; user: string } }[];
  clusters?: { name: string; cluster: { server?: string; "certificate-authority-data"?: string } }[];
  users?: { name: string; user: { "client-certificate-data"?: string; "client-key-data"?: string } }[];
}

/** The last document that was parsed: a wait for a server reads the same kubeconfig again and again. */
let last = { text: "", document: {} as Document };

/**
 * Reads a kubeconfig with embedded certificates, as RKE2 writes it, and hides its key from every log.
 * @param server replaces the server of the kubeconfig
 * @throws UserError that names the missing field, or the line at which the file is cut off
 */
export function parseKubeconfig(text: string, where: string, server?: string): Kubeconfig {
  if (text !== last.text) last = { text, document: documentIn(text, where) };
  const { document } = last;
  const context = document.contexts?.find(({ name }) => name === document["current-context"])?.context;
  const cluster = document.clusters?.find(({ name }) => name === context?.cluster)?.cluster;
  const user = document.users?.find(({ name }) => name === context?.user)?.user;
  const field = (name: string, value: string | undefined): string => {
    if (value !== undefined && value !== "") return value;
    throw new UserError({
      what: `the kubeconfig has no ${name}`,
      where,
      todo: STARTED,
    });
  };
  const pem = (name: string, value: string | undefined) => Buffer.from(field(name, value), "base64").toString();
  const key = pem("client-key-data", user?.["client-key-data"]);
  hide(key);
  hide(user?.["client-key-data"] ?? "");
  return {
    server: new URL(server ?? field("server", cluster?.server)).origin,
    ca: pem("certificate-authority-data", cluster?.["certificate-authority-data"]),
    cert: pem("client-certificate-data", user?.["client-certificate-data"]),
    key,
  };
}

function documentIn(text: string, where: string): Document {
  try {
    return (parse(text) ?? {}) as Document;
  } catch (error) {
    const [line = ""] = messageOf(error).split("\n");
    throw new UserError(
      { what: `the kubeconfig is cut off or broken: ${line}`, where, todo: STARTED },
      { cause: error },
    );
  }
}

const STARTED = "check that RKE2 has started there, and that its disk has room: it writes the file itself";
