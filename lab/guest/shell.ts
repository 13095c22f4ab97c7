/** A shell of a guest: it knows the commands of commands.ts, and refuses any other as a shell does. */
import type { Exit } from "./agent-exec.ts";
import { noProgram } from "./agent-exec.ts";
import { runCommand, type CommandHost } from "./commands.ts";

/** Directories whose programs are the commands; elsewhere a program is a file of the guest. */
const programs = /^(?:(?:\/usr)?\/s?bin\/)?[^/]+$/;

/** A script of the guest that is more than its commands. @returns undefined for a file that it does not know */
export type Known = (path: string, words: readonly string[]) => Promise<Exit> | undefined;

/**
 * Runs a program as the guest agent does.
 * @param known scripts that the lab plays instead of reading them
 * @throws AgentError when there is no such program
 */
export function runProgram(
  host: CommandHost,
  command: readonly string[],
  input: string,
  known: Known = () => undefined,
): Promise<Exit> {
  const [program = "", ...words] = command;
  if (program.startsWith("/") && !programs.test(program) && !host.files.get(program)) throw noProgram(program);
  if (/^(?:\/bin\/|\/usr\/bin\/)?(?:sh|bash|dash)$/.test(program)) return runShell(host, words, input, known);
  return Promise.resolve(runStatement(host, [program, ...words].join(" "), 1));
}

function runShell(host: CommandHost, words: readonly string[], input: string, known: Known): Promise<Exit> {
  const [first, ...rest] = words.filter((word) => !/^-[euxo]+$/.test(word));
  if (first === "-c") return Promise.resolve(runScript(host, sentScript(rest[0] ?? "", input) ?? rest[0] ?? ""));
  if (first === undefined || first === "-s" || first === "-") return Promise.resolve(runScript(host, input));
  const played = known(first, rest);
  if (played !== undefined) return played;
  const script = host.files.get(first)?.toString();
  if (script !== undefined) return Promise.resolve(runScript(host, script));
  return Promise.resolve({ code: 2, err: `sh: 0: cannot open ${first}: No such file\n` });
}

/** The script that comes in Base64 at the input of a command which writes it to a file and runs that. */
function sentScript(command: string, input: string): string | undefined {
  const isRun = /^base64 -d >(\/\S+) && chmod 700 \1 && \1 /.test(command);
  return isRun ? Buffer.from(input, "base64").toString() : undefined;
}

/** Statements of one line, and groups of lines in parentheses, whose errors go where their output goes. */
export function runScript(host: CommandHost, script: string): Exit {
  const lines = script.split("\n");
  let [code, out, err] = [0, "", ""];
  for (let at = 0; at < lines.length; at += 1) {
    const line = (lines[at] ?? "").trim();
    if (/^$|^#|^export |^set [-+]|^umask /.test(line)) continue;
    const printed = /^printf '([^']*)'( "\$\?")?$/.exec(line)?.[1];
    if (printed !== undefined) {
      out += printed.replaceAll("\\n", "\n").replaceAll("%s", String(code));
      continue;
    }
    const end = line === "(" ? lines.findIndex((one, index) => index > at && /^\)( |$)/.test(one)) : -1;
    const exit = runStatement(host, end < 0 ? line : lines.slice(at + 1, end).join("\n"), at + 1);
    code = exit.code;
    out += (exit.out ?? "") + (end < 0 ? "" : (exit.err ?? ""));
    err += end < 0 ? (exit.err ?? "") : "";
    if (end >= 0) at = end;
    if (/^exit\b/.test(line)) break;
  }
  return { code, out, err };
}

function runStatement(host: CommandHost, text: string, line: number): Exit {
  const whole = runCommand(host, text);
  if (whole !== undefined) return whole;
  if (text.includes("\n")) return runScript(host, text);
  const [word = ""] = text.trim().split(/\s+/);
  return { code: 127, err: `sh: ${line}: ${word}: not found\n` };
}
