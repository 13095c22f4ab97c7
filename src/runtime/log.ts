/**
 * The output for the operator, line by line. Steps and commands print through this module; secrets are registered and
 * never printed.
 */
const secrets = new Set<string>();

/** Makes `value` print as asterisks, also inside other text. Short values are ignored: they would mask everything. */
export function hide(value: string): void {
  if (value.length >= 6) secrets.add(value);
}

/** Forgets all hidden values: for a process that plays many others, one after the other. */
export function forgetHidden(): void {
  secrets.clear();
}

/**
 * Terminal control sequences in the text of guests, nodes and APIs: colours, titles, cursor moves (CSI, OSC, C0, C1).
 */
// eslint-disable-next-line no-control-regex -- the pattern matches control characters
const sequences = /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\r(?=\n)/g;
// eslint-disable-next-line no-control-regex -- likewise
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** `text` without terminal control sequences. */
export function printable(text: string): string {
  return text.replaceAll(sequences, "").replaceAll(controls, "?");
}

/** `text` without hidden values and without terminal control sequences. */
export function redact(text: string): string {
  let clean = printable(text);
  // Longest first: a secret that is part of a longer one would leave the rest of the longer one visible.
  for (const secret of [...secrets].sort((a, b) => b.length - a.length)) clean = clean.replaceAll(secret, "******");
  return clean;
}

const standardError = (line: string): void => void process.stderr.write(`${line}\n`);
let print = standardError;

/** Prints a line on standard error, which the engine shows as the progress of the step. */
export function say(line: string): void {
  print(redact(line));
}

/** Prints text on standard output, for the operator: a command's own result, with what guests and nodes have said. */
export function show(text: string): void {
  process.stdout.write(`${redact(text)}\n`);
}

/** Redirects the output to another function. */
export function sayTo(other: (line: string) => void = standardError): void {
  print = other;
}
