import { BlockList, isIP } from "node:net";
import { domainToASCII } from "node:url";
import { UserError } from "./errors.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The HTTP proxy that a request goes through, by the rules of Go, so that our clients and the Proxmox provider reach a host
 * in the same way (golang.org/x/net/http/httpproxy): HTTPS_PROXY or https_proxy; NO_PROXY or no_proxy with names, their
 * subdomains, addresses, networks and ports; loopback never.
 * @returns undefined: it goes there directly
 * @throws UserError when the proxy is not a URL
 */
export function proxyOf(url: URL, environment: Environment = process.env): URL | undefined {
  const scheme = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const proxy = valueOf(environment, scheme);
  if (proxy === undefined || isDirect(url, valueOf(environment, "NO_PROXY") ?? "")) return undefined;
  const read = URL.parse(proxy.includes("://") ? proxy : `http://${proxy}`);
  if (read && ["http:", "https:", "socks5:"].includes(read.protocol)) return read;
  // Its value may hold a password.
  throw new UserError({
    what: `${scheme} is not the URL of a proxy`,
    where: "the environment",
    todo: "write it as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, a sign such as @, / or # of the password in percent-encoding",
  });
}

const names = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"].flatMap((name) => [name, name.toLowerCase()]);

/** The variables of which the proxies of a process depend, for a process that gets no other ones. */
export function proxySettings(environment: Environment = process.env): Record<string, string> {
  return Object.fromEntries(names.flatMap((name) => (environment[name] ? [[name, environment[name]]] : [])));
}

/** An empty value is none. */
function valueOf(environment: Environment, name: string): string | undefined {
  return [environment[name], environment[name.toLowerCase()]].find((value) => value !== undefined && value !== "");
}

function isDirect({ hostname, port, protocol }: URL, noProxy: string): boolean {
  const host = plainAddress(hostname.replace(/^\[|\]$/g, "").toLowerCase());
  const at = port === "" ? (protocol === "https:" ? "443" : "80") : port;
  if (host === "localhost" || isLoopback(host)) return true;
  return noProxy.split(",").some((entry) => matches(entry.trim().toLowerCase(), host, at));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === "") return false;
  if (entry === "*") return true;
  if (entry.includes("/")) return isInside(entry, host);
  const [, inBrackets, before, wanted = ""] = /^(?:\[([^\]]+)\]|([^:]+)):([^:]*)$/.exec(entry) ?? [];
  if (wanted !== "" && wanted !== port) return false;
  const name = inBrackets ?? before ?? entry;
  if (isIP(name) !== 0) return plainAddress(name) === host;
  // `.example.com` and `*.example.com` are the subdomains alone, `example.com` the domain too.
  const suffix = name.replace(/^\*(?=\.)/, "");
  const ascii = domainToASCII(suffix) || suffix;
  if (isIP(host) !== 0) return false;
  return ascii.startsWith(".") ? host.endsWith(ascii) : host === ascii || host.endsWith(`.${ascii}`);
}

/** An address in its shortest form, and one of IPv4 that is written as IPv6 as what it is. */
function plainAddress(text: string): string {
  const short = isIP(text) === 6 ? (URL.parse(`http://[${text}]`)?.hostname.slice(1, -1) ?? text) : text;
  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(short) ?? [];
  if (high === undefined || low === undefined) return short;
  return [high, low].flatMap((pair) => [Number.parseInt(pair, 16) >> 8, Number.parseInt(pair, 16) & 255]).join(".");
}

const familyOf = (address: string): "ipv4" | "ipv6" => (isIP(address) === 6 ? "ipv6" : "ipv4");

function isInside(network: string, host: string): boolean {
  const [address = "", length = ""] = network.split("/");
  const [most, family] = [isIP(address) === 6 ? 128 : 32, familyOf(address)];
  if (isIP(host) === 0 || isIP(address) === 0 || !/^\d+$/.test(length) || Number(length) > most) return false;
  // Only a network of IPv4 that is written as IPv6 has addresses of the other family.
  if (family !== familyOf(host) && plainAddress(address) === address.toLowerCase()) return false;
  const block = new BlockList();
  block.addSubnet(address, Number(length), family);
  return block.check(host, familyOf(host));
}

const isLoopback = (host: string): boolean => host === "::1" || isInside("127.0.0.0/8", host);
