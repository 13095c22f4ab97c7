const OCTETS = 4;
const LIMIT = 2 ** 32;

/** An IPv4 address as a number; undefined when the text is not one. */
export function parseAddress(text: string): number | undefined {
  const octets = text.split(".");
  if (octets.length !== OCTETS || !octets.every((octet) => /^(0|[1-9]\d{0,2})$/.test(octet) && Number(octet) < 256)) {
    return undefined;
  }
  return octets.reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

export function formatAddress(value: number): string {
  return [24, 16, 8, 0].map((bits) => Math.floor(value / 2 ** bits) % 256).join(".");
}

/** The address `steps` after `first`; undefined when there is none. */
export function addressAfter(first: string, steps: number): string | undefined {
  const start = parseAddress(first);
  if (start === undefined || start + steps < 0 || start + steps >= LIMIT) return undefined;
  return formatAddress(start + steps);
}

/** Addresses without a gap, as numbers; it holds both of them. */
export interface AddressBlock {
  first: number;
  last: number;
}

/** `10.0.0.20-10.0.0.39`, or one address; undefined for anything else, and for a block that ends before it begins. */
export function parseBlock(text: string): AddressBlock | undefined {
  const [from = "", to = from, ...rest] = text.split("-");
  const [first, last] = [parseAddress(from), parseAddress(to)];
  return first === undefined || last === undefined || last < first || rest.length > 0 ? undefined : { first, last };
}

/** The address with that number, from 0 on, through all blocks in their order; undefined when there are fewer. */
export function nthAddress(blocks: readonly AddressBlock[], index: number): string | undefined {
  let left = index;
  for (const { first, last } of blocks) {
    if (left <= last - first) return formatAddress(first + left);
    left -= last - first + 1;
  }
  return undefined;
}
