/** Programs that the guest agent runs. */
import { Deadline } from "../../runtime/deadline.ts";
import { isAgentSilent, isFrozen } from "./agent.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxAnswerError } from "./errors.ts";
import { Row } from "./parse.ts";
import { askWhereItIs, vmPath } from "./vms.ts";

interface Vm {
  vmid: number;
  host: string;
}

/** Most characters of a program's input that Proxmox takes. */
export const largestInput = 65_536;

/** How a program has ended. */
export interface ProgramEnd {
  code: number;
  output: string;
  errors: string;
}

/**
 * Starts a program of the guest. It is not sent again when nobody answers: the program may run then.
 * @param command program and arguments, of ASCII
 * @param input for its standard input, ASCII of at most {@link largestInput} characters
 * @returns its process id in the guest
 */
export async function startProgram(pve: Proxmox, vm: Vm, command: readonly string[], input?: string): Promise<number> {
  // Proxmox fails on characters beyond Latin-1, and writes those within it as two bytes or one, by its version.
  if (![...command, input ?? ""].every((text) => /^[\t\n\x20-\x7e]*$/.test(text)))
    throw new Error(`the guest agent takes a command and an input of ASCII only: ${command.join(" ")}`);
  if (input !== undefined && input.length > largestInput)
    throw new Error(`the input of ${command[0] ?? ""} has ${input.length} characters; the agent takes ${largestInput}`);
  const form = { command, ...(input === undefined ? {} : { "input-data": input }) };
  const answer = await askWhereItIs(pve, vm, (now) => pve.post(`${vmPath(now)}/agent/exec`, form));
  return new Row(answer, `${vmPath(vm)}/agent/exec`).number("pid");
}

/**
 * Asks how a program has ended; the agent tells it once.
 * @returns undefined while it runs
 * @throws ProxmoxAnswerError when its output was cut, ProxmoxError when the agent does not know the process
 */
export async function readProgramEnd(pve: Proxmox, vm: Vm, pid: number): Promise<ProgramEnd | undefined> {
  const path = `${vmPath(vm)}/agent/exec-status`;
  const row = new Row(await askWhereItIs(pve, vm, (now) => pve.get(`${vmPath(now)}/agent/exec-status`, { pid })), path);
  if (!row.flag("exited")) return undefined;
  if (row.flag("out-truncated") || row.flag("err-truncated"))
    throw new ProxmoxAnswerError(path, `the output of process ${pid} is too long and was cut`);
  const signal = row.maybeText("signal");
  const text = (name: string) => Buffer.from(row.maybeText(name) ?? "", "latin1").toString();
  return {
    code: signal === undefined ? row.number("exitcode") : 128 + Number(signal),
    output: text("out-data"),
    errors: text("err-data"),
  };
}

/** Runs a program to its end. @throws DeadlineError when it still runs, or its agent is silent, until then */
export async function runProgram(
  pve: Proxmox,
  vm: Vm,
  { command, input }: { command: readonly string[]; input?: string },
  deadline: Deadline,
): Promise<ProgramEnd> {
  const pid = await startProgram(pve, vm, command, input);
  let why = "";
  return await deadline.poll(
    (looks) => Math.min(250 * looks, 2000),
    () =>
      readProgramEnd(pve, vm, pid).catch((error: unknown) => {
        if (!isAgentSilent(error) && !isFrozen(error)) throw error;
        why = String(error);
        return undefined;
      }),
    () => why || `${command.join(" ")} still runs`,
  );
}
