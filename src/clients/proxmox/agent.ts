import { clock } from "../../runtime/clock.ts";
import { Deadline } from "../../runtime/deadline.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxAnswerError, ProxmoxError } from "./errors.ts";
import { Row } from "./parse.ts";
import { vmPath, askWhereItIs } from "./vms.ts";

interface Vm {
  vmid: number;
  host: string;
}

/** Largest file that can be written: Proxmox accepts 61,440 characters, of base64. */
export const largestFile = 45 * 1024;

/**
 * The agent does not answer yet: the guest boots, or its agent is slow or hangs. Waiting does not change any other
 * error.
 */
export function isAgentSilent(error: unknown): boolean {
  if (!(error instanceof ProxmoxError)) return false;
  if (error.status === 596 || isFrozen(error)) return true;
  return error.status === 500 && /QEMU guest agent is not running|got timeout|VM \d+ is not running/.test(error.reason);
}

/**
 * A backup or a snapshot has frozen the guest's file systems: its agent refuses every file command until they are
 * thawed.
 */
export function isFrozen(error: unknown): boolean {
  return error instanceof ProxmoxError && /^Agent error:.* in frozen state/.test(error.reason);
}

/** The VM does not run: there is no guest to answer. */
export function isOff(error: unknown): boolean {
  return error instanceof ProxmoxError && /VM \d+ is not running/.test(error.reason);
}

/** The agent itself refused. Every other 500 is an error of Proxmox and says nothing about the guest. */
export function isRefusedByAgent(error: unknown): error is ProxmoxError {
  if (!(error instanceof ProxmoxError)) return false;
  return /^Agent error:|No QEMU guest agent configured/.test(error.reason);
}

/** The requested file does not exist in the guest. */
export function isNoSuchFile(error: unknown): boolean {
  return error instanceof ProxmoxError && error.reason.includes("No such file or directory");
}

/**
 * Waits until the agent answers, and returns the result of `ask`: asking the real question at once saves a ping, and
 * the privilege that a ping needs.
 */
export async function awaitAgent<T>(deadline: Deadline, ask: () => Promise<T>): Promise<T> {
  let why = SILENT;
  const asked = () =>
    ask().catch((error: unknown) => {
      why = isFrozen(error) ? FROZEN : SILENT;
      throw error;
    });
  const answer = await deadline.poll(
    (probes) => Math.min(250 * probes, 1000),
    () => attempt(isAgentSilent, asked),
    () => why,
  );
  return answer.value;
}

const SILENT =
  "the guest agent never answered: does the image start qemu-guest-agent, and does the guest boot (look at its console)?";
const FROZEN = "the guest's file systems are frozen: a backup or a snapshot of the VM goes on, or did not end";

/** @returns undefined when it fails with an error that is waited for */
async function attempt<T>(
  isWaitedFor: (error: unknown) => boolean,
  work: () => Promise<T>,
): Promise<{ value: T } | undefined> {
  try {
    return { value: await work() };
  } catch (error) {
    if (isWaitedFor(error)) return undefined;
    throw error;
  }
}

/**
 * Reads a file of the guest.
 * @throws ProxmoxError with the agent's message, also when the file does not exist (isNoSuchFile)
 */
export async function readFile(pve: Proxmox, vm: Vm, file: string): Promise<Buffer> {
  const path = `${vmPath(vm)}/agent/file-read`;
  const read = (now: Vm) => pve.get(`${vmPath(now)}/agent/file-read`, { file });
  const answer = new Row(await askWhereItIs(pve, vm, read), path);
  if (answer.flag("truncated")) throw new ProxmoxAnswerError(path, `${file} is too long and was cut`);
  // Each byte arrives as one character.
  return Buffer.from(answer.text("content"), "latin1");
}

/** Longest wait for frozen file systems, in seconds: a backup or a snapshot takes a part of that. */
const thawSeconds = 120;

/**
 * How long an agent that has answered before may be silent, in milliseconds: Proxmox itself waits three seconds for the
 * agent of a busy guest.
 */
export const hungMs = 10_000;

/**
 * Works on files of a guest, and starts again from the beginning when its agent could not do it: the file systems were
 * frozen, or the agent was silent for a moment. A file is written as a whole, so it may be written twice.
 * @param name of the VM
 * @throws DeadlineError when the file systems stay frozen, ProxmoxError when the agent stays silent
 */
export async function withAgent<T>(name: string, stop: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const since = clock.elapsed();
  const isHung = (error: unknown) => isAgentSilent(error) && !isOff(error) && clock.elapsed() - since < hungMs;
  const deadline = new Deadline(`the guest of ${name}`, thawSeconds, stop);
  const done = await deadline.poll(
    500,
    () => attempt((error) => isFrozen(error) || isHung(error), work),
    () => FROZEN,
  );
  return done.value;
}

/** Writes a whole file of the guest, in an existing directory. */
export async function writeFile(pve: Proxmox, vm: Vm, file: string, content: string | Buffer): Promise<void> {
  const data = Buffer.from(content);
  if (data.length > largestFile) throw new Error(`${file} has ${data.length} bytes; the agent takes ${largestFile}`);
  // Proxmox fails on characters beyond Latin-1 and corrupts those within it: so we encode, and Proxmox passes it on.
  const form = { file, content: data.toString("base64"), encode: false };
  await askWhereItIs(pve, vm, (now) => pve.post(`${vmPath(now)}/agent/file-write`, form));
}
