/** Programs that the guest agent has started (qemu-ga: guest-exec and guest-exec-status). */
import { messageOf } from "../../src/runtime/errors.ts";
import { AgentError, type ExecStatus } from "../types.ts";

/** How a program ended. */
export interface Exit {
  code: number;
  out?: string;
  err?: string;
}

export class AgentProcesses {
  private readonly known = new Map<number, ExecStatus>();
  private last = 700;

  /** @returns the process id of a program that runs */
  start(running: Promise<Exit>): number {
    this.last += 2;
    const pid = this.last;
    this.known.set(pid, { exited: false });
    const end = ({ code, out = "", err = "" }: Exit) =>
      this.known.set(pid, { exited: true, code, out: Buffer.from(out), err: Buffer.from(err) });
    running.then(end, (error: unknown) => end({ code: 126, err: `${messageOf(error)}\n` }));
    return pid;
  }

  /** Tells of a program that has ended once: the agent forgets it then. @throws AgentError */
  status(pid: number): ExecStatus {
    const status = this.known.get(pid);
    if (status === undefined) throw new AgentError("Invalid parameter 'pid'");
    if (status.exited) this.known.delete(pid);
    return status;
  }
}

/** The agent's refusal of a program that is not there, in glib's words. */
export function noProgram(path: string): AgentError {
  return new AgentError(`Failed to execute child process \u201c${path}\u201d (No such file or directory)`);
}
