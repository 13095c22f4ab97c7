/** What a bake asks its guest, over the guest agent. */
import { isAgentSilent, isFrozen, isNoSuchFile, isOff, readFile, withAgent } from "../../clients/proxmox/agent.ts";
import { ProxmoxUnreachable, silentHostOf } from "../../clients/proxmox/errors.ts";
import { runProgram } from "../../clients/proxmox/programs.ts";
import { imageOf, vmNameOf } from "../../domain/images/bake.ts";
import { waitFor, type GuestWait } from "../../domain/images/bake-waits.ts";
import { checksOf } from "../../domain/images/hygiene-checks.ts";
import { at, findingsOf, scriptOf } from "../../domain/images/hygiene.ts";
import { filesOf, progressOf, resultOf, type Kind, type StageResult } from "../../domain/images/stages.ts";
import { clock } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { messageOf } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { BakeFailed, type Baking } from "./baking.ts";

/** Milliseconds between two looks at a guest. */
const LOOK_MS = 5000;
/** For how long Proxmox itself may be silent while a guest is waited for, in milliseconds. */
const SILENCE_MS = 600_000;
/** Seconds that the checks of a sealed guest may take. */
const CHECK_SECONDS = 600;

/** A VM and the host that it is on. */
export interface GuestVm {
  vmid: number;
  host: string;
}

/** What a guest tells of its stages: those that it has begun, in their order, and how they ended. */
interface Told {
  stages: readonly string[];
  result?: StageResult;
}

/** Whether nobody answered, neither Proxmox nor the VM's host: that says nothing about the guest. */
export function isUnanswered(error: unknown): boolean {
  return error instanceof ProxmoxUnreachable || silentHostOf(error) !== undefined;
}

/**
 * Waits until the guest has ended its stages.
 * @throws BakeFailed that names the stage: it failed, its time is over, or the guest is off
 * @throws ProxmoxUnreachable, or ProxmoxError of a silent host, when it was Proxmox that did not answer to the end
 */
export async function awaitStages(baking: Baking, vm: GuestVm, kind: Kind): Promise<void> {
  let seen: readonly string[] | undefined;
  for (;;) {
    const wait = waitFor(kind, seen?.at(-1), seen !== undefined);
    const { stages, result } = await awaitNews(baking, vm, kind, wait, seen);
    for (const stage of stages.slice(seen?.length ?? 0))
      if (stage !== "finished") say(`${imageOf(baking.order)}: ${kind}, stage ${stage}`);
    if (result !== undefined) {
      requireSuccess(kind, result);
      return;
    }
    seen = stages;
  }
}

/** Waits until the guest tells more than what was seen of it. */
async function awaitNews(
  { pve, order, stop }: Baking,
  vm: GuestVm,
  kind: Kind,
  wait: GuestWait,
  seen: readonly string[] | undefined,
): Promise<Told> {
  let silence: unknown;
  let answered = clock.elapsed();
  const look = async (): Promise<Told | undefined> => {
    try {
      const told = await askGuest({ pve }, vm, kind);
      silence = undefined;
      answered = clock.elapsed();
      return told.result !== undefined || told.stages.length !== seen?.length ? told : undefined;
    } catch (error) {
      if (isOff(error)) throw new BakeFailed(wentOff(wait, seen !== undefined));
      const isUnheard = isUnanswered(error);
      if (!isUnheard && !isAgentSilent(error) && !isFrozen(error)) throw error;
      if (!isUnheard) answered = clock.elapsed();
      if (clock.elapsed() - answered >= SILENCE_MS) throw error;
      silence = error;
      return undefined;
    }
  };
  const deadline = new Deadline(`${wait.awaited} in the bake of ${imageOf(order)}`, wait.seconds, stop);
  return await deadline.poll(LOOK_MS, look).catch((error: unknown) => {
    if (!(error instanceof DeadlineError)) throw error;
    if (isUnanswered(silence)) throw silence;
    const last = silence === undefined ? "its agent answers" : `its agent does not answer: ${messageOf(silence)}`;
    throw new BakeFailed(`${wait.awaited} did not come within ${wait.seconds} s; ${last}`);
  });
}

/** A guest without an agent turns itself off when it has failed (user-data.ts). */
function wentOff({ awaited }: GuestWait, hasAnswered: boolean): string {
  const what = `its guest went off while the bake waited for ${awaited}`;
  if (hasAnswered) return what;
  return `${what}. It turns itself off when it fails before its agent is there: does it reach the archive, with its network and name servers, and does the archive have all packages?`;
}

async function askGuest({ pve }: Pick<Baking, "pve">, vm: GuestVm, kind: Kind): Promise<Told> {
  const { result, progress } = filesOf(kind);
  // The end is read first: all stages have begun before it.
  const end = await readText({ pve }, vm, result);
  const stages = progressOf((await readText({ pve }, vm, progress)) ?? "").map(({ stage }) => stage);
  return { stages, ...(end === undefined ? {} : { result: resultIn(end) }) };
}

function resultIn(text: string): StageResult {
  try {
    return resultOf(text);
  } catch (error) {
    throw new BakeFailed(messageOf(error));
  }
}

/** @returns undefined when there is no such file */
async function readText({ pve }: Pick<Baking, "pve">, vm: GuestVm, file: string): Promise<string | undefined> {
  try {
    return (await readFile(pve, vm, file)).toString();
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    throw error;
  }
}

function requireSuccess(kind: Kind, result: StageResult): void {
  if (result.status === "ok") return;
  const { stage, command, why, output } = result;
  const tail = output.slice(-8).map((line) => `\n  | ${line}`);
  throw new BakeFailed(`the stage ${stage} of the ${kind} failed: ${command}: ${why}${tail.join("")}`);
}

/** Whether the guest has begun stages of this kind since its last boot. */
export async function hasBegun({ pve, order, stop }: Baking, vm: GuestVm, kind: Kind): Promise<boolean> {
  const read = () => readText({ pve }, vm, filesOf(kind).progress);
  return (await withAgent(vmNameOf(order), stop, read)) !== undefined;
}

/** @throws BakeFailed when the sealed guest has been started again since: it is sealed no more */
export async function requireStillSealed(baking: Baking, vm: GuestVm): Promise<void> {
  const ask = () => askGuest(baking, vm, "seal");
  const told = await withAgent(vmNameOf(baking.order), baking.stop, ask);
  if (told.result?.status !== "ok")
    throw new BakeFailed("its guest was sealed, and has been started again: it is sealed no more");
}

/** Makes the checks of a sealed guest. @throws BakeFailed with all that they have found */
export async function checkSealed({ pve, order, stop }: Baking, vm: GuestVm): Promise<void> {
  const checks = at("sealed", checksOf(order.definition));
  const deadline = new Deadline(`the checks of the sealed guest of ${imageOf(order)}`, CHECK_SECONDS, stop);
  const program = { command: ["/bin/sh", "-s"], input: scriptOf(checks) };
  const { output } = await runProgram(pve, vm, program, deadline).catch((error: unknown) => {
    throw error instanceof DeadlineError ? new BakeFailed(error.message) : error;
  });
  const findings = findingsOf(checks, output, { uuid: "" });
  if (findings.length === 0) return;
  const lines = findings.map(({ id, looksAt, found }) => `\n  | ${id} looks at ${looksAt}, and found: ${found}`);
  throw new BakeFailed(`the sealed guest does not pass its checks${lines.join("")}`);
}

/** What a guest still tells of its stages, for the record of a bake that failed; what it does not tell is said. */
export async function readLogs({ pve }: Pick<Baking, "pve">, vm: GuestVm): Promise<{ title: string; text: string }[]> {
  const parts: { title: string; text: string }[] = [];
  for (const file of (["bake", "seal"] as const).flatMap((kind) => Object.values(filesOf(kind))))
    try {
      const text = await readText({ pve }, vm, file);
      if (text !== undefined) parts.push({ title: file, text });
    } catch (error) {
      parts.push({ title: file, text: `(not readable: ${messageOf(error)})` });
      if (isAgentSilent(error)) return parts;
    }
  return parts;
}
