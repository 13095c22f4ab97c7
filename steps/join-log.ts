import { DeadlineError } from "../common/deadline.ts";
import { messageOf, UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import { guest } from "../images/contract.ts";
import { readFile } from "../proxmox/agent.ts";
import type { VmConfig } from "../proxmox/vms.ts";
import { clockErrorIn } from "../rollout/join-log.ts";
import type { Run } from "./run.ts";

const logLines = 15;

/**
 * Shows what the guest of a join that failed said last.
 * @param now the cluster's time
 * @returns the error, or a better one when the log knows the cause. That is no verdict on the image: the same one joins when
 *   the clock is right
 */
export async function readJoinLog(run: Run, vm: VmConfig, error: unknown, now: Date): Promise<unknown> {
  const text = await readFile(run.pve, vm, guest.log).catch((failure: unknown) => Buffer.from(messageOf(failure)));
  const end = text.toString().trimEnd().split("\n").slice(-logLines);
  say([`the end of ${guest.log} on ${vm.name}:`, ...end.map((line) => `  | ${line}`)].join("\n"));
  const off = error instanceof DeadlineError ? clockErrorIn(end.join("\n"), now) : undefined;
  return off === undefined ? error : wrongClock(vm, off, error);
}

function wrongClock({ name, vmid, host }: VmConfig, seconds: number, cause: unknown): UserError {
  return new UserError(
    {
      what: `the clock of ${name} is ${span(Math.abs(seconds))} ${seconds < 0 ? "behind" : "ahead"}, so it takes the cluster's certificates for ${seconds < 0 ? "not yet valid" : "expired"}`,
      where: `VM ${vmid} on ${host}, the end of ${guest.log}`,
      todo: "let it reach its time servers, and see to the clock of its Proxmox host; it joins as soon as its time is right: run pulumi up again",
    },
    { cause },
  );
}

function span(seconds: number): string {
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
