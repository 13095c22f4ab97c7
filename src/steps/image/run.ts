/** Runs a bake: looks, does the next thing, and looks again, until the template is there. */
import { requireSight } from "../../clients/proxmox/vms.ts";
import { ProxmoxError } from "../../clients/proxmox/errors.ts";
import { TaskError } from "../../clients/proxmox/task.ts";
import { imageOf } from "../../domain/images/bake.ts";
import { nextStep, type BakeStep, type ObservedBakeVm } from "../../domain/images/bake-step.ts";
import { writeBakeLog } from "../../evidence/bake-log.ts";
import { clock } from "../../runtime/clock.ts";
import { DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { carryOut } from "./actions.ts";
import { BakeFailed, type Baking } from "./baking.ts";
import { clearBake } from "./discard.ts";
import { isUnanswered, readLogs } from "./guest.ts";
import { observeBake } from "./observe.ts";
import { requireBakeSite } from "./preflight.ts";

/** For how long nobody may answer before the run ends, in milliseconds: a host restarts in that time. */
const SILENCE_MS = 600_000;
/** How often a VM of which nothing can be made is replaced in one run. */
const MOST_DISCARDS = 1;
/** Milliseconds before it looks again after nobody has answered. */
const PAUSE_MS = 10_000;

/** What has gone wrong so far. */
interface Troubles {
  /** Since when nobody has answered, by the clock's `elapsed`; undefined: somebody has. */
  silentSince: number | undefined;
  discards: number;
  /** The step that was refused last, and why; undefined: the last one was not. */
  refused: { step: BakeStep["do"] | "look"; error: Error } | undefined;
}

/**
 * Bakes until the template is there. A run that is killed at any request is taken up by the next one.
 * @returns the template's VM
 * @throws UserError when the bake failed, with the path of its log: its VM and its CD are gone then
 * @throws UserError when the VMID, the name or the base is not as it should be: nothing was touched
 * @throws ProxmoxUnreachable or the reason of `stop`: the VM stays for the next run
 */
export async function runBake(baking: Baking): Promise<ObservedBakeVm> {
  const { pve, order, stop } = baking;
  await requireSight(pve, order.place.pool);
  const troubles: Troubles = { silentSince: undefined, discards: 0, refused: undefined };
  for (;;) {
    stop.throwIfAborted();
    let step: BakeStep | undefined;
    try {
      const observed = await observeBake(pve, order);
      step = nextStep(order, observed);
      if (step.do === "done" && typeof observed.vm === "object") return observed.vm;
      if (step.do === "refuse") throw new UserError(step.problem);
      if (step.do === "done") continue;
      if (step.do === "discard" && (troubles.discards += 1) > MOST_DISCARDS)
        throw new BakeFailed(troubles.refused?.error.message ?? step.why);
      // The first thing that is made.
      if (step.do === "upload") await requireBakeSite(pve, order);
      await carryOut(baking, step);
      troubles.silentSince = undefined;
      troubles.refused = undefined;
    } catch (error) {
      stop.throwIfAborted();
      await judgeTrouble(baking, troubles, step?.do ?? "look", error);
    }
  }
}

/**
 * Decides whether a bake goes on after an error: whoever looks again sees whether the request has had its effect.
 * @throws the error, or UserError with the path of the log when the bake has failed
 */
async function judgeTrouble(
  baking: Baking,
  troubles: Troubles,
  step: BakeStep["do"] | "look",
  error: unknown,
): Promise<void> {
  if (error instanceof BakeFailed) throw await closeBake(baking, error);
  // A task that takes longer goes on in Proxmox.
  if (isUnanswered(error) || error instanceof DeadlineError) {
    troubles.silentSince ??= clock.elapsed();
    if (clock.elapsed() - troubles.silentSince >= SILENCE_MS) throw error;
    say(`${imageOf(baking.order)}: ${messageOf(error)}; it is looked at again`);
    await clock.sleep(PAUSE_MS);
    return;
  }
  if (!(error instanceof ProxmoxError || error instanceof TaskError)) throw error;
  if (troubles.refused?.step === step) throw step === "look" ? error : await closeBake(baking, error);
  troubles.refused = { step, error };
}

/** Keeps the log of a bake that failed, and takes away what it has made. @returns the error for the operator */
async function closeBake(baking: Baking, error: Error): Promise<UserError> {
  const { order } = baking;
  const image = imageOf(order);
  say(`${image}: ${error.message}`);
  const parts = await readGuest(baking);
  const log = { image, digest: order.digest, at: new Date(clock.date()), why: error.message, parts };
  const where = await attempt(`the log of ${image}`, () => writeBakeLog(order.evidence, log));
  const cleared = await attempt(`${image}: not everything can be removed now`, () => clearBake(baking));
  const left =
    cleared === undefined
      ? `VM ${order.vmid} or its CD is left, and the next run removes it`
      : "nothing of it is left in Proxmox";
  return new UserError(
    {
      what: `the bake of ${image} failed: ${error.message}`,
      where: where ?? `VM ${order.vmid}; its log could not be written`,
      todo: `correct what the log names, then run again; ${left}`,
    },
    { cause: error },
  );
}

/** @returns undefined, and says why, when it failed: the bake's own failure is what counts */
async function attempt<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    say(`${what}: ${messageOf(error)}`);
    return undefined;
  }
}

/** What the guest still tells, if there is one. */
async function readGuest(baking: Baking): Promise<{ title: string; text: string }[]> {
  const { pve, order } = baking;
  try {
    const { vm } = await observeBake(pve, order);
    if (typeof vm !== "object" || !vm.isRunning) return [{ title: "the guest", text: "(it does not run any more)" }];
    return await readLogs(baking, { vmid: order.vmid, host: vm.host });
  } catch (error) {
    return [{ title: "the guest", text: `(not readable: ${messageOf(error)})` }];
  }
}
