/** One line for the operator. Steps and commands print through this; what is secret is registered and never printed. */
const secrets = new Set<string>();

/** From now on `value` is printed as asterisks, also inside other text. Short values are ignored: they would mask everything. */
export function hide(value: string): void {
  if (value.length >= 6) secrets.add(value);
}

/** What guests, nodes and APIs said may hold commands for a terminal: colours, titles, a moved cursor (CSI, OSC, C0, C1). */
// eslint-disable-next-line no-control-regex -- they are what is looked for
const sequences = /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\r(?=\n)/g;
// eslint-disable-next-line no-control-regex -- likewise
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** `text` without anything that a terminal would act on. */
export function printable(text: string): string {
  return text.replaceAll(sequences, "").replaceAll(controls, "?");
}

/** `text` without any value that was hidden, and without anything that a terminal would act on. */
export function redact(text: string): string {
  let clean = printable(text);
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
