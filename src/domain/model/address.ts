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
