import { createHash } from "node:crypto";

/** A value that a configuration file can hold. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/**
 * The canonical JSON text of a value: equal values give the same text. Keys are sorted, undefined fields and white
 * space are left out.
 */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => (isRecord(inner) ? sorted(inner) : inner));
}

/** The first `digits` hexadecimal digits of the SHA-256 of the canonical text. */
export function fingerprint(value: unknown, digits: number): string {
  return createHash("sha256").update(canonical(value)).digest("hex").slice(0, digits);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function sorted(record: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
