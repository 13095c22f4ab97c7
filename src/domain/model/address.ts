import { isIPv4, isIPv6 } from "node:net";
import type { NodeAddresses } from "./types.ts";

/** An IP address as a number. */
export interface Address {
  family: 4 | 6;
  value: bigint;
}

const BITS = { 4: 32n, 6: 128n } as const;

/** The number of addresses in a network of that prefix length. */
export const sizeOf = ({ family }: Pick<Address, "family">, prefixLength: number): bigint =>
  2n ** (BITS[family] - BigInt(prefixLength));

/**
 * An IP address, in any of its spellings (`FD00:0::a` is `fd00::a`); undefined when the text is not one. A scope
 * (`fe80::1%eth0`) is no part of an address.
 */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 4, value: BigInt(`0x${hexOf(text)}`) };
  return isIPv6(text) && !text.includes("%") ? { family: 6, value: BigInt(`0x${groupsOf(text)}`) } : undefined;
}

/** The address as it is usually written: of IPv6 as RFC 5952 says. */
export function formatAddress({ family, value }: Address): string {
  const hex = value.toString(16).padStart(family === 4 ? 8 : 32, "0");
  if (family === 4) return (hex.match(/../g) ?? []).map((byte) => parseInt(byte, 16)).join(".");
  return new URL(`http://[${(hex.match(/..../g) ?? []).join(":")}]`).hostname.slice(1, -1);
}

/** The usual spelling of an address; the text itself when it is none. */
export function usualSpelling(text: string): string {
  const address = parseAddress(text);
  return address === undefined ? text : formatAddress(address);
}

/** A host name or an address, as it stands in a URL. */
export const inUrl = (host: string): string => (isIPv6(host) ? `[${host}]` : host);

/** The address `steps` after `first`; undefined when there is none. */
export function addressAfter(first: string, steps: number): string | undefined {
  const start = parseAddress(first);
  if (start === undefined) return undefined;
  const value = start.value + BigInt(steps);
  return value < 0n || value >= sizeOf(start, 0) ? undefined : formatAddress({ ...start, value });
}

/** Addresses without a gap, as numbers; it holds both of them. */
export interface AddressBlock {
  family: Address["family"];
  first: bigint;
  last: bigint;
}

/** `10.0.0.20-10.0.0.39`, or one address; undefined for anything else, and for a block that ends before it begins. */
export function parseBlock(text: string): AddressBlock | undefined {
  const [from = "", to = from, ...rest] = text.split("-");
  const [first, last] = [parseAddress(from), parseAddress(to)];
  if (first === undefined || last?.family !== first.family || last.value < first.value || rest.length > 0)
    return undefined;
  return { family: first.family, first: first.value, last: last.value };
}

/** The address with that number, from 0 on, through all blocks in their order; undefined when there are fewer. */
export function nthAddress(blocks: readonly AddressBlock[], index: number): string | undefined {
  let left = BigInt(index);
  for (const { family, first, last } of blocks) {
    if (left <= last - first) return formatAddress({ family, value: first + left });
    left -= last - first + 1n;
  }
  return undefined;
}

/** The addresses of both families of something that has more. */
export function addressesIn({
  address,
  address6,
}: Partial<Record<keyof NodeAddresses, string | undefined>>): NodeAddresses {
  return { ...(address === undefined ? {} : { address }), ...(address6 === undefined ? {} : { address6 }) };
}

/** IPv6 addresses at which no other machine is reached: unspecified, loopback, IPv4 ones, link-local and multicast. */
const NOT_OF_NODES = [
  "::-::1",
  "::ffff:0:0-::ffff:ffff:ffff",
  "fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
  "ff00::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
].flatMap((text) => parseBlock(text) ?? []);

/** Whether all addresses of a block are such that a node may have them. */
export const mayBelongToNode = (block: AddressBlock): boolean => !NOT_OF_NODES.some((other) => meet(block, other));

/** Whether an address is in both. */
export const meet = (a: AddressBlock, b: AddressBlock): boolean =>
  a.family === b.family && a.first <= b.last && b.first <= a.last;

/** The four bytes of a valid IPv4 address, in hexadecimal. */
function hexOf(ipv4: string): string {
  return ipv4
    .split(".")
    .map((byte) => Number(byte).toString(16).padStart(2, "0"))
    .join("");
}

/** The eight groups of a valid IPv6 address, in hexadecimal and in one. */
function groupsOf(text: string): string {
  const embedded = /[0-9.]+$/.exec(text)?.[0] ?? "";
  const plain = isIPv4(embedded) ? text.slice(0, -embedded.length) + hexOf(embedded).replace(/^..../, "$&:") : text;
  const [before, after] = plain.split("::").map((half) => (half === "" ? [] : half.split(":")));
  const [left, right] = [before ?? [], after ?? []];
  const zeros = Array<string>(8 - left.length - right.length).fill("0");
  return [...left, ...zeros, ...right].map((group) => group.padStart(4, "0")).join("");
}
