/** Flags of all Pulumi commands that change a stack, as far as they take the next argument when they have no `=`. */
const VALUED = new Set(
  (
    "color cwd memprofilerate otel-traces profiling tracing verbose " +
    "config config-file exclude message override-env parallel policy-pack policy-pack-config replace secrets-provider " +
    "stack target target-replace"
  ).split(" "),
);

/** Short flags, and the long flags that they stand for. */
const SHORT: Readonly<Record<string, string>> = {
  C: "cwd",
  c: "config",
  m: "message",
  p: "parallel",
  s: "stack",
  t: "target",
  v: "verbose",
  x: "exclude",
};

/** A flag as it was given; `value` is absent when the flag has none. */
export interface Flag {
  name: string;
  value?: string;
}

/** A parsed Pulumi command line; flags may stand anywhere in it. */
export interface CommandLine {
  /** The command comes first. */
  words: string[];
  flags: Flag[];
}

/** Parses a command line as Pulumi does (pflag): `--flag value`, `--flag=value`, `-f value`, `-fvalue`, `-yf=value`. */
export function commandLine(args: readonly string[]): CommandLine {
  const rest = [...args];
  const line: CommandLine = { words: [], flags: [] };
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--") return line;
    if (arg.startsWith("--")) line.flags.push(long(arg.slice(2), rest));
    else if (arg.startsWith("-") && arg !== "-") line.flags.push(...short(arg.slice(1), rest));
    else line.words.push(arg);
  }
  return line;
}

/** The value of a flag; the last occurrence counts. */
export function valueOf({ flags }: CommandLine, name: string): string | undefined {
  return flags.findLast((flag) => flag.name === name)?.value;
}

function long(text: string, rest: string[]): Flag {
  const [, name = text, value] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  return flagOf(name, value, rest);
}

function short(letters: string, rest: string[]): Flag[] {
  const [letter = "", ...others] = letters;
  const name = SHORT[letter] ?? letter;
  const tail = others.join("");
  if (tail.startsWith("=")) return [{ name, value: tail.slice(1) }];
  if (VALUED.has(name)) return [flagOf(name, tail === "" ? undefined : tail, rest)];
  return [{ name }, ...(tail === "" ? [] : short(tail, rest))];
}

function flagOf(name: string, inline: string | undefined, rest: string[]): Flag {
  const value = inline ?? (VALUED.has(name) ? rest.shift() : undefined);
  return value === undefined ? { name } : { name, value };
}
