/** One line for the operator. Steps and commands print through this; what is secret is registered and never printed. */
const secrets = new Set<string>();

/** From now on `value` is printed as asterisks, also inside other text. Short values are ignored: they would mask everything. */
export function hide(value: string): void {
  if (value.length >= 6) secrets.add(value);
}

/** `text` without any value that was hidden. */
export function redact(text: string): string {
  let clean = text;
  // The longest first: one that is a part of another would leave the rest of it in the open.
  for (const secret of [...secrets].sort((a, b) => b.length - a.length)) clean = clean.replaceAll(secret, "******");
  return clean;
}

const standardError = (line: string): void => void process.stderr.write(`${line}\n`);
let print = standardError;

/** Prints a line on standard error, which the engine shows as progress of the step. */
export function say(line: string): void {
  print(redact(line));
}

/** From now on what is said goes elsewhere. */
export function sayTo(other: (line: string) => void = standardError): void {
  print = other;
}
