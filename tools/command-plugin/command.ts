import { randomBytes } from "node:crypto";
import type { Printed, Runner } from "./runner.ts";
import { clearProps, hasSecret, text, UNKNOWN, wrap, type Props } from "./values.ts";

/** Type of the only resource that the stand-in has. */
export const COMMAND = "command:local:Command";

/** Token of the only function that the stand-in has. */
export const RUN = "command:local:run";

/** An input that cannot be accepted. */
export interface Failure {
  property: string;
  reason: string;
}

/** Parameters of the engine's request to create, update or delete. */
export interface Request {
  urn: string;
  /** Seconds; 0: no limit. */
  timeout: number;
  preview: boolean;
}

const RUN_INPUTS = ["dir", "environment", "interpreter", "stdin", "logging", "addPreviousOutputInEnv"] as const;
const COMMAND_INPUTS: readonly string[] = [...RUN_INPUTS, "create", "update", "delete", "triggers"];
const STRINGS = ["create", "update", "delete", "dir", "stdin"];
const LOGGING: readonly unknown[] = ["stdout", "stderr", "stdoutAndStderr", "none", UNKNOWN];

/** Implements `command:local:Command` as @pulumi/command 1.2.1 documents it, without assets and archives. */
export class Command {
  private readonly runner: Runner;
  private readonly log: (urn: string, line: string) => void;

  constructor(runner: Runner, log: (urn: string, line: string) => void) {
    this.runner = runner;
    this.log = log;
  }

  check(type: string, inputs: Props): Failure[] {
    if (type !== COMMAND) return [{ property: "", reason: `${type} is not in the stand-in for the command plugin` }];
    const plain = clearProps(inputs);
    const failures = Object.keys(plain)
      .filter((key) => !COMMAND_INPUTS.includes(key) && !key.startsWith("__"))
      .map((property) => ({ property, reason: "is not in the stand-in for the command plugin" }));
    for (const property of STRINGS) {
      const value = plain[property];
      if (value !== undefined && value !== null && typeof value !== "string")
        failures.push({ property, reason: "must be a string" });
    }
    const { logging } = plain;
    if (logging !== undefined && logging !== null && !LOGGING.includes(logging))
      failures.push({ property: "logging", reason: "must be stdout, stderr, stdoutAndStderr or none" });
    return failures;
  }

  async create(request: Request, inputs: Props): Promise<{ id: string; outputs: Props }> {
    if (request.preview) return { id: "", outputs: outputs(inputs, unprinted) };
    const name = request.urn.split("::").at(-1) ?? "";
    const printed = await this.start(request, text(clearProps(inputs), "create"), inputs, {});
    return { id: name + randomBytes(4).toString("hex"), outputs: outputs(inputs, printed) };
  }

  async update(request: Request, olds: Props, inputs: Props): Promise<Props> {
    if (request.preview) return outputs(inputs, unprinted);
    const plain = clearProps(inputs);
    const printed = await this.start(request, text(plain, "update") ?? text(plain, "create"), inputs, olds);
    return outputs(inputs, printed);
  }

  async delete(request: Request, state: Props): Promise<void> {
    await this.start(request, text(clearProps(state), "delete"), state, state);
  }

  /** `local.run`: runs in a preview too, as the official function does. */
  async invoke(token: string, inputs: Props): Promise<Props> {
    if (token !== RUN) throw new Error(`${token} is not in the stand-in for the command plugin`);
    const printed = await this.start(
      { urn: "", timeout: 0, preview: false },
      text(clearProps(inputs), "command"),
      inputs,
      {},
    );
    return outputs(inputs, printed);
  }

  /** Runs a command. Without a command nothing runs, and the previous output stays. */
  private async start(request: Request, command: string | undefined, inputs: Props, olds: Props): Promise<Printed> {
    const state = clearProps(olds);
    const previous = { stdout: text(state, "stdout") ?? "", stderr: text(state, "stderr") ?? "" };
    if (command === undefined) return previous;
    const { urn, timeout } = request;
    const log = (line: string) => this.log(urn, line);
    return await this.runner.run({ command, inputs: clearProps(inputs), previous, timeout, log });
  }
}

const unprinted: Printed = { stdout: UNKNOWN, stderr: UNKNOWN };

/** Outputs of a command. If any input is secret, the output is secret too: a command may print its inputs. */
function outputs(inputs: Props, printed: Printed): Props {
  const secret = hasSecret(inputs) && printed !== unprinted;
  const keep = (value: string) => (secret ? wrap(value) : value);
  return { ...inputs, stdout: keep(printed.stdout), stderr: keep(printed.stderr) };
}
