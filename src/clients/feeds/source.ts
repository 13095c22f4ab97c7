/** Where the files of a feed are read: at their own address, or at a mirror, which is a folder or an HTTP server. */
import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { UserError } from "../../runtime/errors.ts";

/**
 * A source of files. A mirror has each of them below the name of its host, as `wget --recursive` writes them:
 * `cloud-images.ubuntu.com/releases/noble/...`.
 */
export type Source = { kind: "upstream" } | { kind: "mirror"; root: URL };

export const UPSTREAM: Source = { kind: "upstream" };

/**
 * The mirror that an operator names.
 * @param place a folder, or an address that begins with http:// or https://
 */
export function mirrorAt(place: string): Source {
  const url = isAbsolute(place) || !place.includes("://") ? pathToFileURL(resolve(place)) : URL.parse(place);
  if (url === null || !["file:", "http:", "https:"].includes(url.protocol) || url.search !== "" || url.username !== "")
    throw new UserError({
      what: "the mirror is neither a folder nor the address of one",
      where: "--mirror",
      todo: "name a folder, or an address such as https://mirror.example.com/images, without a user and without a query",
    });
  return { kind: "mirror", root: url };
}

/** Where a source has a file of an address. */
export function placeOf(source: Source, address: URL): URL {
  if (source.kind === "upstream") return address;
  const root = source.root.href.replace(/\/+$/, "");
  return new URL(`${root}/${address.host}${address.pathname}`);
}

/** The hosts to which a host may lead, besides itself. */
const REDIRECTS: Readonly<Record<string, readonly string[]>> = {
  "github.com": ["objects.githubusercontent.com", "release-assets.githubusercontent.com"],
};

/** Whether a file may be read at another place than it was asked for: HTTPS stays HTTPS, and hosts are known. */
export function mayLead(from: URL, to: URL): boolean {
  if (to.username !== "" || to.password !== "") return false;
  if (from.protocol === to.protocol && from.host === to.host) return true;
  return to.protocol === "https:" && from.protocol === "https:" && (REDIRECTS[from.host] ?? []).includes(to.host);
}
