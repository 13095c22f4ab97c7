/** Property values as the engine sends them in a protobuf Struct. */
export type Props = Record<string, unknown>;

/** Placeholder that the engine sends for a value that is not known yet (only in a preview). */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

function isObject(value: unknown): value is Props {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function isSecret(value: unknown): value is Props {
  return isObject(value) && value[SIGNATURE] === SECRET;
}

/** Marks a value as a secret. */
export function wrap(value: unknown): Props {
  return { [SIGNATURE]: SECRET, value };
}

/** Whether `value` contains a secret at any depth. */
export function hasSecret(value: unknown): boolean {
  if (isSecret(value)) return true;
  if (Array.isArray(value)) return value.some(hasSecret);
  return isObject(value) && Object.values(value).some(hasSecret);
}

/** `value` with every secret in plain text, for comparisons and for running commands. Never send it in an answer. */
export function clear(value: unknown): unknown {
  if (isSecret(value)) return clear(value.value);
  if (Array.isArray(value)) return value.map(clear);
  if (isObject(value)) return clearProps(value);
  return value;
}

/** {@link clear} for a whole set of properties. */
export function clearProps(props: Props): Props {
  return Object.fromEntries(Object.entries(props).map(([key, value]) => [key, clear(value)]));
}

/** Whether two values without secrets are equal, whatever the order of their keys. */
export function same(a: unknown, b: unknown): boolean {
  return stable(a) === stable(b);
}

function stable(value: unknown): string | undefined {
  return JSON.stringify(value, (_key, inner: unknown) =>
    isObject(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

/** The string at `key`, undefined when it is absent or empty. */
export function text(props: Props, key: string): string | undefined {
  const value = props[key];
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** The map of strings at `key`; numbers and booleans are converted as the engine prints them. */
export function strings(props: Props, key: string): Record<string, string> {
  const value = props[key];
  return isObject(value) ? Object.fromEntries(Object.entries(value).map(([name, item]) => [name, String(item)])) : {};
}
