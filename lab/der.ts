/** The part of DER (X.690) that a certificate needs. */

function element(tag: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([tag]), length(content.length), content]);
}

function length(bytes: number): Buffer {
  if (bytes < 0x80) return Buffer.from([bytes]);
  const digits: number[] = [];
  for (let rest = bytes; rest > 0; rest >>>= 8) digits.unshift(rest & 0xff);
  return Buffer.from([0x80 | digits.length, ...digits]);
}

export const sequence = (...items: readonly Buffer[]): Buffer => element(0x30, Buffer.concat(items));
export const set = (...items: readonly Buffer[]): Buffer => element(0x31, Buffer.concat(items));
export const boolean = (value: boolean): Buffer => element(0x01, Buffer.from([value ? 0xff : 0]));
export const octets = (value: Buffer): Buffer => element(0x04, value);
export const utf8 = (value: string): Buffer => element(0x0c, Buffer.from(value));
/** @param unused bits at the end that are not part of the value */
export const bits = (value: Buffer, unused: number): Buffer =>
  element(0x03, Buffer.concat([Buffer.from([unused]), value]));
/** An explicit tag around other elements. */
export const context = (tag: number, content: Buffer): Buffer => element(0xa0 | tag, content);
/** An implicit tag on a primitive value. */
export const contextPrimitive = (tag: number, content: Buffer): Buffer => element(0x80 | tag, content);

/** @param magnitude big-endian, not negative */
export function integer(magnitude: Buffer): Buffer {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++;
  const digits = magnitude.subarray(start);
  const negative = ((digits[0] ?? 0) & 0x80) !== 0;
  return element(0x02, negative ? Buffer.concat([Buffer.from([0]), digits]) : digits);
}

export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return element(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const digits = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) digits.unshift(0x80 | (rest & 0x7f));
  return digits;
}

/** UTCTime, which X.509 demands until 2049. */
export function time(date: Date): Buffer {
  const text = date
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replace(/[-:T]/g, "");
  return element(0x17, Buffer.from(text.slice(2), "ascii"));
}
