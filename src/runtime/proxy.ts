import { BlockList, isIP } from "node:net";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The HTTP proxy that a request goes through, by the rules of Go, so that our clients and the Proxmox provider reach a host
 * in the same way (golang.org/x/net/http/httpproxy): HTTPS_PROXY or https_proxy; NO_PROXY or no_proxy with names, their
 * subdomains, addresses, networks and ports; loopback never.
 * @returns undefined: it goes there directly
 * @throws TypeError when the proxy is not a URL
 */
export function proxyOf(url: URL, environment: Environment = process.env): URL | undefined {
  const scheme = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const proxy = valueOf(environment, scheme);
  if (proxy === undefined || isDirect(url, valueOf(environment, "NO_PROXY") ?? "")) return undefined;
  return new URL(proxy.includes("://") ? proxy : `http://${proxy}`);
}

/** An empty value is none. */
function valueOf(environment: Environment, name: string): string | undefined {
  return [environment[name], environment[name.toLowerCase()]].find((value) => value !== undefined && value !== "");
}

function isDirect({ hostname, port, protocol }: URL, noProxy: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const at = port === "" ? (protocol === "https:" ? "443" : "80") : port;
  if (host === "localhost" || isLoopback(host)) return true;
  return noProxy.split(",").some((entry) => matches(entry.trim().toLowerCase(), host, at));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === "") return false;
  if (entry === "*") return true;
  if (entry.includes("/")) return isInside(entry, host);
  const [, name = entry, wanted] = /^(\[[^\]]+\]|[^:]+):(\d+)$/.exec(entry) ?? [];
  if (wanted !== undefined && wanted !== port) return false;
  const plain = name.replace(/^\[|\]$/g, "");
  if (isIP(plain) !== 0) return plain === host;
  // `.example.com` and `*.example.com` are the subdomains alone, `example.com` the domain too.
  const suffix = plain.replace(/^\*(?=\.)/, "");
  return suffix.startsWith(".") ? host.endsWith(suffix) : host === suffix || host.endsWith(`.${suffix}`);
}

const familyOf = (address: string): "ipv4" | "ipv6" => (isIP(address) === 6 ? "ipv6" : "ipv4");

function isInside(network: string, host: string): boolean {
  const [address = "", length = ""] = network.split("/");
  const [most, family] = [isIP(address) === 6 ? 128 : 32, familyOf(address)];
  if (isIP(host) === 0 || isIP(address) === 0 || !/^\d+$/.test(length) || Number(length) > most) return false;
  const block = new BlockList();
  block.addSubnet(address, Number(length), family);
  return block.check(host, familyOf(host));
}

const isLoopback = (host: string): boolean => host === "::1" || isInside("127.0.0.0/8", host);
