import { DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { guest } from "../../../images/contract.ts";
import { readFile } from "../../clients/proxmox/agent.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import { clockErrorIn, isNameTaken, isRemovedFromEtcd, whatIsMissing } from "../../domain/rollout/join-log.ts";
import type { StepContext } from "../context.ts";
import { unjudged } from "./attribution.ts";
import { ImageFault, NeverRegistered } from "./verdict.ts";

const logLines = 15;

/**
 * RKE2 removed this server from etcd before its join was over: only another server can have its slot. No image is to
 * blame.
 */
export class MemberRemoved extends UserError {}

/**
 * Logs the end of the join log of a guest whose join failed.
 * @param now the cluster's time
 * @returns the error, or a better one when the log shows the cause. That is no verdict on the image: the same image
 *   joins when the clock is right
 */
export async function readJoinLog(context: StepContext, vm: VmConfig, error: unknown, now: Date): Promise<unknown> {
  const text = await readFile(context.pve, vm, guest.log).catch((failure: unknown) => Buffer.from(messageOf(failure)));
  const end = text.toString().trimEnd().split("\n").slice(-logLines);
  say([`the end of ${guest.log} on ${vm.name}:`, ...end.map((line) => `  | ${line}`)].join("\n"));
  if (!(error instanceof ImageFault) && !(error instanceof DeadlineError)) return error;
  // A node that registered and is not Ready in time is the image's fault only if the log shows no other cause.
  if (isRemovedFromEtcd(end.join("\n"))) return removed(vm, error);
  if (!(error instanceof NeverRegistered)) return error;
  if (isNameTaken(end.join("\n"))) return unjudged(error, "etcd has a member of its name, which is another machine");
  const off = clockErrorIn(end.join("\n"), now);
  if (off !== undefined) return wrongClock(vm, off, error);
  const missing = whatIsMissing(end.join("\n"));
  return missing === undefined ? error : unjudged(error, missing);
}

function removed({ name, vmid, host }: VmConfig, cause: unknown): MemberRemoved {
  return new MemberRemoved(
    {
      what: `${name} was removed from etcd before its join was over, and what is on its disk never gets in again`,
      where: `VM ${vmid} on ${host}, the end of ${guest.log}`,
      todo: "run pulumi up again: it is retired, and its slot gets another server of the same content",
    },
    { cause },
  );
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
